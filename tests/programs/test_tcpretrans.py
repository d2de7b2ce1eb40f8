"""tcpretrans: packets that nobody acknowledges, counted as the kernel counts them for the socket."""

from __future__ import annotations

import csv
import json
import shutil
import signal

import pytest

from pybpf.sys import features
from tests.programs.cases import Running, run
from tests.programs.network import TOTAL_RETRANS, Host, Routed, deaf, hears, talk, wait_until_attached

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("tp_btf")]

#: where the next byte is that the socket sends
SEQUENCE = """
c.setsockopt(6, 19, 1)   # TCP_REPAIR
c.setsockopt(6, 20, 2)   # TCP_REPAIR_QUEUE: the one that sends
result = c.getsockopt(6, 21) % 2**32  # TCP_QUEUE_SEQ
c.setsockopt(6, 19, -1)
"""


def lose(server: Host, client: Host, address: str = "127.0.0.1") -> tuple[int, int, int]:
    """Send a packet that is lost twice. The port of its socket, its sequence number, how often it was sent."""
    server.listen(address, 5000)
    port = client.connect(address, 5000)
    server.accept()
    deaf(server)
    sequence = client.do(SEQUENCE)
    client.do(f"c.sendall(b'x' * 100)\nwhile {TOTAL_RETRANS} < 2: time.sleep(0.01)")
    hears(server)
    server.do("n = 0\nwhile n < 100: n += len(s.recv(100))")
    return port, sequence, client.do(f"time.sleep(0.1); result = {TOTAL_RETRANS}")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_packet_with_its_number(server: Host, client: Host, address: str) -> None:
    tool = Running("tcpretrans", "-s", "--netns", str(server.pid))
    assert tool.ready("TIME") == "TIME     PID     IP LADDR:LPORT          T> RADDR:RPORT          STATE        SEQ\n"
    port, sequence, count = lose(server, client, address)
    lines = tool.stop()
    assert len(lines) == count >= 2
    version, local = ("6" if ":" in address else "4"), f"{address}:{port}"
    for line in lines:
        row = f" {client.pid:<7d} {version}  {local:<20} R> {address + ':5000':<20} {'ESTABLISHED':<12} {sequence}"
        assert line[8:] == row


def test_nothing_where_nothing_is_lost(server: Host, client: Host) -> None:
    tool = Running("tcpretrans", "--netns", str(server.pid))
    assert tool.ready("TIME").endswith(" RADDR:RPORT          STATE\n")
    talk(server, client)
    assert tool.stop() == []


def test_only_of_a_process_of_a_family(server: Host, client: Host) -> None:
    options: dict[tuple[str, ...], bool] = {
        (): True, ("-p", str(client.pid)): True, ("-p", str(server.pid)): False, ("-4",): True, ("-6",): False,
        ("--comm", client.comm): True, ("-u", "4321"): False,
    }  # fmt: skip
    tools = {each: Running("tcpretrans", "--csv", "--netns", str(server.pid), *each) for each in options}
    (titles,) = {tuple(tool.ready("time").strip().split(",")) for tool in tools.values()}
    port, _, count = lose(server, client)
    for each, tool in tools.items():
        rows = list(csv.DictReader(tool.stop(), titles))
        assert len(rows) == (count if options[each] else 0), each
        assert {(int(row["lport"]), int(row["pid"]), row["comm"], row["type"]) for row in rows} <= {
            (port, client.pid, client.comm, "R")
        }


def test_counts(server: Host, client: Host) -> None:
    tool = Running("tcpretrans", "-c", "--netns", str(server.pid))
    as_json = Running("tcpretrans", "-c", "--json", "--netns", str(server.pid))
    tool.ready("Tracing retransmits")
    wait_until_attached(as_json)
    port, _, count = lose(server, client)
    assert tool.stop() == [
        "", f"{'LADDR:LPORT':<25} {'RADDR:RPORT':<25} RETRANSMITS",
        f"{f'[127.0.0.1]#{port}':<20} <-> {'[127.0.0.1]#5000':<20} {count:>10}",
    ]  # fmt: skip
    as_json.process.send_signal(signal.SIGINT)
    ((found,),) = [json.loads(line)["counts"] for line in as_json.wait()]
    assert found == {"laddr": "127.0.0.1", "raddr": "127.0.0.1", "lport": port, "rport": 5000, "retransmits": count}


def test_loss_probes(server: Host, client: Host) -> None:
    tool = Running("tcpretrans", "-l", "--csv", "--netns", str(server.pid))
    titles = tool.ready("time").strip().split(",")
    _, _, count = lose(server, client)
    kinds = [row["type"] for row in csv.DictReader(tool.stop(), titles)]
    # The packet is lost at the end of all: the first timer that runs out is the one of loss probes.
    assert kinds[0] == "L"
    if features.has("kprobe") or features.has("fentry"):
        assert kinds.count("R") == count
    else:
        assert len(kinds) == count


@pytest.mark.skipif(shutil.which("tc") is None, reason="no iproute2")
def test_a_cable_that_loses_packets() -> None:
    with Routed() as path:
        tool = Running("tcpretrans", "--csv", "--netns", str(path.sender.pid))
        titles = tool.ready("time").strip().split(",")
        port = path.send()
        count = path.sender.do(f"time.sleep(0.5); result = {TOTAL_RETRANS}")
        rows = list(csv.DictReader(tool.stop(), titles))
    assert len(rows) == count > 5
    assert {(row["laddr"], row["raddr"], int(row["lport"]), int(row["pid"])) for row in rows} == {
        (*path.ends, port, path.sender.pid)
    }


def test_wrong_options() -> None:
    found = run("tcpretrans", "-c", "--csv")
    assert found.returncode == 2 and "-c counts" in found.stderr
