"""tcplife: connections of known processes and lengths, as rows, by every option."""

from __future__ import annotations

import csv
import json
import signal
import time
from typing import Any

import pytest

from tests.programs.cases import Running, run
from tests.programs.network import Host, talk, wait_until_attached

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("tp_btf")]


def rows(tool: Running) -> list[Any]:
    tool.process.send_signal(signal.SIGINT)
    return [json.loads(line) for line in tool.wait()]


def test_rows_and_columns_are_those_of_bcc(server: Host, client: Host) -> None:
    tool = Running("tcplife", "--netns", str(server.pid))
    assert tool.ready("PID") == "PID   COMM       LADDR           LPORT RADDR           RPORT TX_KB RX_KB MS\n"
    before = time.monotonic()
    source = talk(server, client)
    spent = (time.monotonic() - before) * 1000
    lines = tool.stop()
    expected = [
        f"{client.pid:<5d} {client.comm:<10.10s} {'127.0.0.1':<15} {source:<5d} {'127.0.0.1':<15} 5000      4     2 ",
        f"{server.pid:<5d} {server.comm:<10.10s} {'127.0.0.1':<15} 5000  {'127.0.0.1':<15} {source:<5d}     2     4 ",
    ]
    assert len(lines) == 2
    for line, text in zip(sorted(lines, key=lambda line: line.split()[3] == "5000"), expected):
        assert line.startswith(text)
        assert 0 < float(line.removeprefix(text) if hasattr(line, "removeprefix") else line[len(text) :]) <= spent


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("first", ["client", "server"])
def test_whose_they_are_and_what_they_carried(server: Host, client: Host, address: str, first: str) -> None:
    """Also the end that closes first, whose last change comes with a packet, while any process may run."""
    tool = Running("tcplife", "--netns", str(server.pid), "--csv")
    titles = tool.ready("time").strip().split(",")
    source = talk(server, client, address, first=first)
    found = {int(row["lport"]): row for row in csv.DictReader(tool.stop(), titles)}
    assert set(found) == {source, 5000}
    at_client, at_server = found[source], found[5000]
    for row, host, port, (sent, received) in (
        (at_client, client, 5000, (5000, 3000)),
        (at_server, server, source, (3000, 5000)),
    ):
        assert (row["pid"], row["comm"]) == (str(host.pid), host.comm)
        assert (row["laddr"], row["raddr"], int(row["rport"])) == (address, address, port)
        assert row["ip"] == ("6" if ":" in address else "4")
        assert (int(row["tx_bytes"]), int(row["rx_bytes"])) == (sent, received)


def test_only_of_a_process_of_ports_of_a_family(server: Host, client: Host) -> None:
    options: dict[tuple[str, ...], int] = {
        ("-p", str(server.pid)): 2, ("-p", str(client.pid)): 2, ("-L", "5000"): 1, ("-D", "5000"): 1,
        ("-D", "1,5001,5000"): 2, ("-L", "1,2"): 0, ("-4",): 2, ("-6",): 2, ("-4", "-6"): 4, ("-u", "0"): 4,
        ("-u", "4321"): 0, ("--comm", client.comm): 4, ("--comm", "nobody"): 0,
    }  # fmt: skip
    tools = {each: Running("tcplife", "--netns", str(server.pid), *each) for each in options}
    for tool in tools.values():
        tool.ready("PID")
    talk(server, client)
    server.do("del s")
    talk(server, client, "::1", 5001)
    assert {each: len(tool.stop()) for each, tool in tools.items()} == options


def test_a_connection_that_is_reset_is_of_who_accepted_it(server: Host, client: Host) -> None:
    tool = Running("tcplife", "--json", "--netns", str(server.pid), "-L", "5000", "-d", "60")
    wait_until_attached(tool)
    server.listen("127.0.0.1", 5000)
    client.connect("127.0.0.1", 5000)
    server.accept()
    client.do("c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()")
    (row,) = rows(tool)
    assert (row["pid"], row["comm"], row["tx_bytes"]) == (server.pid, server.comm, 0)


def test_a_command(server: Host) -> None:
    server.listen("127.0.0.1", 5000)
    script = "import socket; socket.create_connection(('127.0.0.1', 5000)).close()"
    words = ["nsenter", "-t", str(server.pid), "-n", "python3", "-S", "-c", script]
    found = run("tcplife", "--json", "--exec", *words)
    assert found.returncode == 0 and not found.stderr
    (row,) = map(json.loads, found.stdout.splitlines())
    assert (row["comm"], row["rport"]) == ("python3", 5000)


def test_times(server: Host, client: Host) -> None:
    tool = Running("tcplife", "--netns", str(server.pid), "-T", "-t", "-L", "5000,5001")
    assert tool.ready("TIME").startswith("TIME     TIME(s)   PID   COMM ")
    for port in (5000, 5001):
        talk(server, client, port=port)
        server.do("del s")
    first, second = (line.split() for line in tool.stop())
    assert first[1] == "0.000000" and 0 < float(second[1]) < 60
    assert time.strptime(first[0], "%H:%M:%S")


@pytest.mark.parametrize(("options", "says"), [(["-L", "x"], "no port"), (["-D", "70000"], "no port"),
                                               (["--netns", "/nonexistent"], "no network namespace"),
                                               (["--netns", "999999999"], "no network namespace")])  # fmt: skip
def test_wrong_options(options: list[str], says: str) -> None:
    found = run("tcplife", *options)
    assert found.returncode == 2 and says in found.stderr and "Traceback" not in found.stderr
