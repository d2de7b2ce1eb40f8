"""tcpdrop: packets that a test has the kernel drop, each with its reason and its place."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections import Counter
from typing import Any

import pytest

from programs.tcpdrop import DROP
from pybpf.tool.places import lack
from tests.programs.cases import Running
from tests.programs.network import TOTAL_RETRANS, Host, Routed, deaf, hears, inside, talk, wait_until_attached

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("tp_btf")]


@pytest.fixture(autouse=True)
def reasons() -> None:
    """What older kernels have is a function that may be a part of others there."""
    why = lack(DROP.places[2])
    if why:
        pytest.skip(f"no reasons of drops: {why}")


def objects(tool: Running) -> list[Any]:
    tool.process.send_signal(signal.SIGINT)
    return [json.loads(line) for line in tool.wait()]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_where_nobody_listens(server: Host, address: str) -> None:
    tool = Running("tcpdrop", "--netns", str(server.pid))
    assert tool.ready("TIME") == (
        "TIME     PID     IP SADDR:SPORT          > DADDR:DPORT          STATE (FLAGS)        REASON (CODE)\n"
    )
    source = server.do(f"c = socket.socket(AF_INET6 if ':' in {address!r} else AF_INET)\nc.bind(({address!r}, 0))\n"
                       f"result = c.getsockname()[1]\nc.connect_ex(({address!r}, 1))")  # fmt: skip
    row, *stack = tool.stop()
    version, source_end = ("6" if ":" in address else "4"), f"{address}:{source}"
    assert row[8:].startswith(
        f" {0:<7d} {version}  {source_end:<20} > {address + ':1':<20} {'- (SYN)':<20} NO_SOCKET ("
    )
    assert any(line.startswith(f"\ttcp_v{version}_rcv+0x") for line in stack)
    assert all(line.startswith("\t") for line in stack[:-1]) and stack[-1] == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_a_filter_of_a_socket_drops(server: Host, client: Host, address: str) -> None:
    """Each packet is dropped once: the first one and all that are sent again."""
    tool = Running("tcpdrop", "--json", "--netns", str(server.pid))
    wait_until_attached(tool)
    server.listen(address, 5000)
    port = client.connect(address, 5000)
    server.accept()
    deaf(server)
    client.do("c.sendall(b'x' * 100); time.sleep(0.7)")
    hears(server)
    server.do("n = 0\nwhile n < 100: n += len(s.recv(100))")
    count = client.do(f"time.sleep(0.1); result = {TOTAL_RETRANS}")
    rows = [row for row in objects(tool) if row["reason"] == "SOCKET_FILTER"]
    assert len(rows) == count  # all but the last one, which is taken
    for row in rows:
        assert (row["saddr"], row["sport"], row["daddr"], row["dport"]) == (address, port, address, 5000)
        assert row["flags"] == "PSH|ACK" and row["ip"] == (6 if ":" in address else 4)
        assert any(frame.startswith("tcp_v") for frame in row["stack"])
    if rows[0]["state"] is not None:  # the socket that a packet is for is told since Linux 6.11
        assert {(row["state"], row["pid"], row["comm"]) for row in rows} == {
            ("ESTABLISHED", server.pid, server.comm)
        }


def test_nothing_where_nothing_is_dropped(server: Host, client: Host) -> None:
    tool = Running("tcpdrop", "--csv", "--netns", str(server.pid))
    titles = tool.ready("time").strip().split(",")
    server.do("socket.socket(AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))")  # dropped, but not of TCP
    talk(server, client)
    rows = list(csv.DictReader(tool.stop(), titles))
    assert {row["reason"] for row in rows} <= {"TCP_OLD_ACK", "TCP_OLD_DATA"}  # of packets that cross


def test_only_of_a_family(server: Host) -> None:
    tools = {each: Running("tcpdrop", "--json", "--netns", str(server.pid), each) for each in ("-4", "-6")}
    for tool in tools.values():
        wait_until_attached(tool)
    server.do("socket.socket().connect_ex(('127.0.0.1', 1)); socket.socket(AF_INET6).connect_ex(('::1', 2))")
    found = {each: [row["dport"] for row in objects(tool)] for each, tool in tools.items()}
    assert found == {"-4": [1], "-6": [2]}


def test_only_of_a_process(server: Host, client: Host) -> None:
    """Of its connections: what is dropped for want of one is nobody's."""
    tool = Running("tcpdrop", "--json", "-p", str(client.pid))
    wait_until_attached(tool)
    client.do("socket.socket().connect_ex(('127.0.0.1', 1))")
    assert objects(tool) == []


@pytest.mark.skipif(shutil.which("tc") is None, reason="no iproute2")
def test_a_router_that_has_no_room() -> None:
    """Packets of others: there is no socket, and the namespace is that of the device."""
    with Routed() as path:
        tool = Running("tcpdrop", "--csv", "--netns", str(path.router.pid))
        titles = tool.ready("time").strip().split(",")
        port = path.send()
        shown = inside(path.router, "tc", "-s", "-j", "qdisc", "show", "dev", path.out)
        dropped = json.loads(shown)[0]["drops"]
        rows = list(csv.DictReader(tool.stop(), titles))
    sender, receiver = path.ends
    assert Counter((row["saddr"], int(row["sport"]), row["daddr"]) for row in rows) == {
        (sender, port, receiver): dropped
    }
    assert {row["reason"] for row in rows} <= {"QDISC_DROP", "QDISC_OVERLIMIT"} and dropped > 0
    assert {row["state"] for row in rows} == {""}
