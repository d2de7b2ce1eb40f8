"""tcpaccept: connections that a known process accepts, by every option."""

from __future__ import annotations

import csv
import json

import pytest

from tests.programs.cases import Running, run
from tests.programs.network import Host

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("tp_btf")]


def test_rows_and_columns_are_those_of_bcc(server: Host, client: Host) -> None:
    tool = Running("tcpaccept", "--netns", str(server.pid))
    assert tool.ready("PID") == "PID     COMM         IP RADDR            RPORT LADDR            LPORT\n"
    server.listen("127.0.0.1", 5000)
    first = client.connect("127.0.0.1", 5000)
    server.accept()
    server.do("l.close()")
    server.listen("::1", 5001)
    second = client.connect("::1", 5001)
    server.accept()
    assert tool.stop() == [
        f"{server.pid:<7d} {server.comm:<12.12s} 4  {'127.0.0.1':<16} {first:<5d} {'127.0.0.1':<16} 5000",
        f"{server.pid:<7d} {server.comm:<12.12s} 6  {'::1':<16} {second:<5d} {'::1':<16} 5001",
    ]


def test_each_is_there_once_and_failures_are_not(server: Host, client: Host) -> None:
    tool = Running("tcpaccept", "--netns", str(server.pid), "--csv")
    titles = tool.ready("time").strip().split(",")
    server.listen("127.0.0.1", 5000)
    server.do("l.setblocking(0)")
    ports = []
    for _ in range(20):
        ports.append(client.connect("127.0.0.1", 5000))
        server.accept()
        server.do("try: l.accept()\nexcept BlockingIOError: pass")
    server.do("u = socket.socket(socket.AF_UNIX); u.bind('\\0pybpf-test'); u.listen()\n"
              "v = socket.socket(socket.AF_UNIX); v.connect('\\0pybpf-test'); u.accept()")  # fmt: skip
    rows = list(csv.DictReader(tool.stop(), titles))
    assert [int(row["rport"]) for row in rows] == ports
    assert {(row["pid"], row["lport"], row["laddr"]) for row in rows} == {(str(server.pid), "5000", "127.0.0.1")}
    times = [float(row["time"]) for row in rows]
    assert times == sorted(times)


def test_a_server_of_both_versions(server: Host, client: Host) -> None:
    """The socket's family counts, as in BCC."""
    tool = Running("tcpaccept", "--netns", str(server.pid))
    tool.ready("PID")
    server.listen("::", 5000)
    port = client.connect("127.0.0.1", 5000)
    server.accept()
    (line,) = tool.stop()
    assert line.split()[2:] == ["6", "::ffff:127.0.0.1", str(port), "::ffff:127.0.0.1", "5000"]


def test_only_of_a_process_at_ports_of_a_family(server: Host, client: Host) -> None:
    options: dict[tuple[str, ...], int] = {
        ("-p", str(server.pid)): 2, ("-p", str(client.pid)): 0, ("-P", "5000"): 1, ("-P", "1,5001,5000"): 2,
        ("-P", "1"): 0, ("-4",): 1, ("-6",): 1, ("-u", "0"): 2, ("-u", "4321"): 0, ("-T", "-t"): 2,
    }  # fmt: skip
    tools = {each: Running("tcpaccept", "--netns", str(server.pid), *each) for each in options}
    for each, tool in tools.items():
        tool.ready("TIME" if "-T" in each else "PID")
    for address, port in (("127.0.0.1", 5000), ("::1", 5001)):
        server.listen(address, port)
        client.connect(address, port)
        server.accept()
    assert {each: len(tool.stop()) for each, tool in tools.items()} == options


def test_a_command() -> None:
    script = ("import socket; s = socket.create_server(('127.0.0.1', 0)); "
              "c = socket.create_connection(s.getsockname()); s.accept(); c.close()")  # fmt: skip
    found = run("tcpaccept", "--json", "-c", f'python3 -S -c "{script}"')
    (row,) = map(json.loads, found.stdout.splitlines())
    assert (row["comm"], row["raddr"], row["ip"]) == ("python3", "127.0.0.1", 4) and not found.stderr


def test_wrong_options() -> None:
    found = run("tcpaccept", "-P", "80,x")
    assert found.returncode == 2 and "no port" in found.stderr
