"""tcpconnect: connections of a known process, by every option, with the names of a name server made for it."""

from __future__ import annotations

import csv
import json
import signal
from typing import Any

import pytest

from pybpf.sys import features
from tests.programs.cases import Running, run
from tests.programs.network import NAME_SERVER, Host, wait_until_attached

pytestmark = [pytest.mark.root, pytest.mark.needs("tp_btf")]


def objects(tool: Running) -> list[Any]:
    tool.process.send_signal(signal.SIGINT)
    return [json.loads(line) for line in tool.wait()]


def test_rows_and_columns_are_those_of_bcc(server: Host, client: Host) -> None:
    tool = Running("tcpconnect", "--netns", str(server.pid))
    assert tool.ready("PID") == "PID     COMM         IP SADDR            DADDR            DPORT\n"
    server.listen("127.0.0.1", 5000)
    client.connect("127.0.0.1", 5000)
    server.do("l.close()")
    server.listen("::1", 5001)
    client.connect("::1", 5001)
    assert tool.stop() == [
        f"{client.pid:<7d} {client.comm:<12.12s} 4  {'127.0.0.1':<16} {'127.0.0.1':<16} 5000",
        f"{client.pid:<7d} {client.comm:<12.12s} 6  {'::1':<16} {'::1':<16} 5001",
    ]


def test_local_ports_users_and_times(server: Host, client: Host) -> None:
    tool = Running("tcpconnect", "--netns", str(server.pid), "-L", "-U", "-t")
    assert tool.ready("TIME(s)") == (
        "TIME(s)  UID   PID     COMM         IP SADDR            LPORT  DADDR            DPORT\n"
    )
    server.listen("127.0.0.1", 5000)
    client.do("os.setresuid(12345, 0, 0)")
    ports = [client.connect("127.0.0.1", 5000, name) for name in ("c", "d")]
    lines = [line.split() for line in tool.stop()]
    assert [line[1:] for line in lines] == [
        ["12345", str(client.pid), client.comm, "4", "127.0.0.1", str(port), "127.0.0.1", "5000"] for port in ports
    ]
    assert lines[0][0] == "0.000" and float(lines[1][0]) < 60


def test_refused_and_pending_connections_are_there(server: Host, client: Host) -> None:
    """And one that an address of version 4 in version 6 names once; not what the kernel refuses at once."""
    tool = Running("tcpconnect", "--netns", str(server.pid), "--csv")
    titles = tool.ready("time").strip().split(",")
    client.do("c = socket.socket(); c.connect_ex(('127.0.0.1', 1))")  # refused by the other end
    client.do("d = socket.socket(AF_INET6); d.connect_ex(('::ffff:127.0.0.1', 2))")
    client.do("e = socket.socket(); e.connect_ex(('192.0.2.1', 3))")  # there is no way there
    server.listen("127.0.0.1", 5000)
    client.do("f = socket.socket(); f.setblocking(0); f.connect_ex(('127.0.0.1', 5000))")
    rows = list(csv.DictReader(tool.stop(), titles))
    assert [(row["ip"], row["daddr"], row["dport"]) for row in rows] == [
        ("4", "127.0.0.1", "1"), ("6", "::ffff:127.0.0.1", "2"), ("4", "127.0.0.1", "5000"),
    ]  # fmt: skip
    if features.has("kprobe") or features.has("fentry"):
        assert all(int(row["lport"]) > 1023 for row in rows)
    else:
        assert all(row["lport"] == "" for row in rows)


def test_only_of_a_process_to_ports_of_a_family(server: Host, client: Host) -> None:
    options: dict[tuple[str, ...], int] = {
        ("-p", str(client.pid)): 2, ("-p", str(server.pid)): 0, ("-P", "5000"): 1, ("-P", "1,5001,5000"): 2,
        ("-P", "1"): 0, ("-4",): 1, ("-6",): 1, ("-u", "0"): 2, ("-u", "4321"): 0, ("--comm", client.comm): 2,
        ("-L", "-P", "5001"): 1,
    }  # fmt: skip
    tools = {each: Running("tcpconnect", "--netns", str(server.pid), *each) for each in options}
    for tool in tools.values():
        tool.ready("PID")
    server.listen("127.0.0.1", 5000)
    client.connect("127.0.0.1", 5000)
    server.listen("::1", 5001)
    client.connect("::1", 5001)
    assert {each: len(tool.stop()) for each, tool in tools.items()} == options


def test_counts(server: Host, client: Host) -> None:
    tool = Running("tcpconnect", "--netns", str(server.pid), "-c")
    as_json = Running("tcpconnect", "--netns", str(server.pid), "-c", "--json")
    tool.ready("Tracing connect")
    wait_until_attached(as_json)
    server.listen("127.0.0.1", 5000)
    for _ in range(7):
        client.connect("127.0.0.1", 5000)
    server.listen("127.0.0.1", 5002)
    for _ in range(9):
        client.connect("127.0.0.1", 5002)
    server.listen("::1", 5001)
    client.connect("::1", 5001)
    assert tool.stop() == [
        "", f"{'LADDR':<25} {'RADDR':<25} {'RPORT':<20} CONNECTS", f"{'127.0.0.1':<25} {'127.0.0.1':<25} {5002:<20} 9",
        f"{'127.0.0.1':<25} {'127.0.0.1':<25} {5000:<20} 7", f"{'::1':<25} {'::1':<25} {5001:<20} 1",
    ]  # fmt: skip
    (found,) = objects(as_json)
    assert [(each["rport"], each["connects"]) for each in found["counts"]] == [(5002, 9), (5000, 7), (5001, 1)]


def test_names_that_were_looked_up(server: Host, client: Host) -> None:
    """By the resolver of the C library; of an address the last name; also aliases."""
    server.serve_names()
    tool = Running("tcpconnect", "--netns", str(server.pid), "-d", "--json")
    wait_until_attached(tool)
    client.do("for name in ('one.example', 'two.example', 'alias.example', 'none.example'):\n"
              "    try: socket.getaddrinfo(name, 1)\n"
              "    except socket.gaierror: pass\n"
              "for a in ('127.0.0.1', '127.0.0.2', '::1', '127.0.0.3', '127.0.0.4'):\n"
              "    socket.socket(AF_INET6 if ':' in a else AF_INET).connect_ex((a, 1))")  # fmt: skip
    assert [(row["daddr"], row["query"]) for row in objects(tool)] == [
        ("127.0.0.1", "one.example"), ("127.0.0.2", "two.example"), ("::1", "two.example"),
        ("127.0.0.3", "alias.example"), ("127.0.0.4", None),
    ]  # fmt: skip


#: how a reply comes from a name server, by a socket that is connected to it, and by one that is not
SERVER = "('127.0.0.1', 53)"
CONNECTED, OTHER = f"d.connect({SERVER}); ask = d.send", f"ask = lambda packet: d.sendto(packet, {SERVER})"


@pytest.mark.parametrize(
    ("to", "call"),
    [(CONNECTED, "d.recv(500)"), (CONNECTED, "os.read(d.fileno(), 500)"), (CONNECTED, "d.recvmsg(500)"),
     (CONNECTED, "d.recvfrom(500)"), (OTHER, "d.recvmsg(500)"), (OTHER, "d.recvfrom(500)")],
)  # fmt: skip
def test_replies_by_every_call_and_names_that_are_not_safe(server: Host, client: Host, to: str, call: str) -> None:
    server.do(r"addresses = {'a\x1b[31m.example': ['127.0.0.9']}")
    server.do(f"{NAME_SERVER}")
    tool = Running("tcpconnect", "--netns", str(server.pid), "-d")
    assert tool.ready("PID").endswith(" DPORT  QUERY\n")
    client.do(f"d = socket.socket(AF_INET, socket.SOCK_DGRAM); {to}\n"
              "ask(b'xy\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6a\\x1b[31m\\7example\\0\\0\\1\\0\\1')\n"
              f"{call}\ntime.sleep(0.15)\n"
              "for a in ('127.0.0.9', '127.0.0.1', '127.0.0.8'): socket.socket().connect_ex((a, 1))")  # fmt: skip
    known, local, unknown = tool.stop()
    assert " 127.0.0.9        1      a\\x1b[31m.example (" in known and known.endswith("ms)")
    assert 150 <= float(known.rpartition("(")[2][:-3]) < 60000
    assert local.endswith(" localhost") and unknown.endswith(" No DNS Query")


@pytest.mark.parametrize(("options", "says"), [(["-c", "-d"], "-c counts"), (["-c", "--csv"], "-c counts"),
                                               (["-P", "0"], "no port")])  # fmt: skip
def test_wrong_options(options: list[str], says: str) -> None:
    found = run("tcpconnect", *options)
    assert found.returncode == 2 and says in found.stderr
