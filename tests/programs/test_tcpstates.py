"""tcpstates: the life of a connection, change by change."""

from __future__ import annotations

import csv
import json
import signal

import pytest

from tests.programs.cases import Running, run
from tests.programs.network import Host, talk, wait_until_attached

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("tp_btf")]

#: of the end that closes first, and of the other one
CONNECTS = [("CLOSE", "SYN_SENT"), ("SYN_SENT", "ESTABLISHED")]
ACCEPTED = [("LISTEN", "SYN_RECV"), ("SYN_RECV", "ESTABLISHED")]
FIRST = [("ESTABLISHED", "FIN_WAIT1"), ("FIN_WAIT1", "FIN_WAIT2"), ("FIN_WAIT2", "CLOSE")]
SECOND = [("ESTABLISHED", "CLOSE_WAIT"), ("CLOSE_WAIT", "LAST_ACK"), ("LAST_ACK", "CLOSE")]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_change_is_there_once(server: Host, client: Host, address: str) -> None:
    tool = Running("tcpstates", "--netns", str(server.pid), "--csv")
    titles = tool.ready("time").strip().split(",")
    source = talk(server, client, address)
    rows = list(csv.DictReader(tool.stop(), titles))
    listening, *rows = rows
    assert (listening["oldstate"], listening["newstate"], listening["lport"]) == ("CLOSE", "LISTEN", "5000")
    sockets = {row["skaddr"]: row for row in rows}
    assert len(sockets) == 2 and listening["skaddr"] not in sockets
    found = {
        int(last["lport"]): [(row["oldstate"], row["newstate"]) for row in rows if row["skaddr"] == address]
        for address, last in sockets.items()
    }
    assert found == {source: CONNECTS + FIRST, 5000: ACCEPTED + SECOND}
    # A new server's socket has its addresses before this change since Linux 6.13 only.
    known = [row for row in rows if row["newstate"] != "SYN_RECV"]
    assert {(row["laddr"], row["raddr"]) for row in known} == {(address, address)}
    assert {row["ip"] for row in rows} == {"6" if ":" in address else "4"}
    connecting = rows[0]
    assert (connecting["pid"], connecting["comm"], connecting["lport"]) == (str(client.pid), client.comm, "0")


def test_columns_are_those_of_bcc_and_times_add_up(server: Host, client: Host) -> None:
    tool = Running("tcpstates", "-t", "--netns", str(server.pid), "-L", "5000")
    assert tool.ready("TIME(s)") == (
        "TIME(s)   SKADDR           C-PID C-COMM     LADDR           LPORT RADDR           RPORT "
        "OLDSTATE    -> NEWSTATE    MS\n"
    )
    source = talk(server, client)
    listening, born, *lines = tool.stop()
    assert " 5000  0.0.0.0         0     CLOSE       -> LISTEN      0.000" in listening
    assert born.endswith(" LISTEN      -> SYN_RECV    0.000")
    assert " 127.0.0.1       5000  127.0.0.1       " + f"{source:<5d} SYN_RECV    -> ESTABLISHED " in lines[0]
    begin = float(born.split()[0])
    spent = [float(line.split()[-1]) for line in lines]
    assert sum(spent) == pytest.approx((float(lines[-1].split()[0]) - begin) * 1000, abs=0.01) and min(spent) >= 0


def test_only_of_a_process(server: Host, client: Host) -> None:
    tools = {host: Running("tcpstates", "--json", "--netns", str(server.pid), "-p", str(host.pid))
             for host in (server, client)}  # fmt: skip
    for tool in tools.values():
        wait_until_attached(tool)
    talk(server, client)
    found = {}
    for host, tool in tools.items():
        tool.process.send_signal(signal.SIGINT)
        found[host] = [(row["oldstate"], row["newstate"]) for row in map(json.loads, tool.wait())]
    assert found == {client: CONNECTS + FIRST, server: [("CLOSE", "LISTEN"), *SECOND]}


def test_families_and_ports(server: Host, client: Host) -> None:
    options: dict[tuple[str, ...], int] = {
        ("-4",): 11, ("-6",): 11, ("-D", "5001"): 5, ("-L", "5000,5001"): 12, ("-D", "1"): 0, ("-T", "-w"): 22,
    }  # fmt: skip
    tools = {each: Running("tcpstates", "--netns", str(server.pid), *each) for each in options}
    for each, tool in tools.items():
        tool.ready("TIME" if "-T" in each else "SKADDR")
    talk(server, client)
    server.do("del s; l.close()")
    talk(server, client, "::1", 5001)
    server.do("l.close()")
    # each listener adds its beginning and its end
    options.update({("-4",): 12, ("-6",): 12, ("-L", "5000,5001"): 14, ("-T", "-w"): 24})
    assert {each: len(tool.stop()) for each, tool in tools.items()} == options


def test_a_command() -> None:
    script = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); s.close()"
    found = run("tcpstates", "--json", "--exec", "unshare", "-n", "python3", "-S", "-c", script)
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [(row["oldstate"], row["newstate"]) for row in rows] == [("CLOSE", "LISTEN"), ("LISTEN", "CLOSE")]
    assert not found.stderr
