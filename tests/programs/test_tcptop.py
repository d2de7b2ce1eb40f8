"""tcptop: bytes of known connections, exactly, at the end and over intervals."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest

from pybpf.tool.places import lack
from tests.programs.cases import Running, run
from tests.programs.network import Host, talk, wait_until_attached

pytestmark = [
    pytest.mark.root, pytest.mark.generic, pytest.mark.needs("tp_btf"),
    pytest.mark.skipif(bool(lack("tracepoint:sock:sock_send_length") and lack("kprobe:tcp_sendmsg")),
                       reason="neither tracepoints of lengths nor kprobes"),
]  # fmt: skip


def totals(tool: Running) -> tuple[Counter[tuple[Any, ...]], int]:
    """(pid, local port, remote port, "rx" or "tx") -> bytes over all intervals; and how many intervals had some."""
    tool.process.send_signal(signal.SIGINT)
    found: Counter[tuple[Any, ...]] = Counter()
    busy = 0
    for line in tool.wait():
        connections = json.loads(line)["connections"]
        busy += bool(connections)
        for row in connections:
            for kind in ("rx", "tx"):
                found[row["pid"], row["lport"], row["rport"], kind] += row[f"{kind}_bytes"]
    return found, busy


def test_tables_are_those_of_bcc(server: Host, client: Host) -> None:
    tool = Running("tcptop", "-C", "-S", "--netns", str(server.pid), "100")
    tool.ready("Tracing... Output every 100 secs.")
    first = talk(server, client)
    server.do("del s")
    second = talk(server, client, "::1", 5001)
    lines = tool.stop()
    assert lines[:2] == ["", f"{'PID':<7} {'COMM':<12} {'LADDR':<21} {'RADDR':<21}  RX_KB  TX_KB"]
    assert sorted(lines[2:4]) == sorted([
        f"{client.pid:<7} {client.comm:<12} {f'127.0.0.1:{first}':<21} {'127.0.0.1:5000':<21} {2:>6} {4:>6}",
        f"{server.pid:<7} {server.comm:<12} {'127.0.0.1:5000':<21} {f'127.0.0.1:{first}':<21} {4:>6} {2:>6}",
    ])  # fmt: skip
    assert lines[4:6] == ["", f"{'PID':<7} {'COMM':<12} {'LADDR6':<32} {'RADDR6':<32}  RX_KB  TX_KB"]
    assert sorted(lines[6:]) == sorted([
        f"{client.pid:<7} {client.comm:<12} {f'::1:{second}':<32} {'::1:5001':<32} {2:>6} {4:>6}",
        f"{server.pid:<7} {server.comm:<12} {'::1:5001':<32} {f'::1:{second}':<32} {4:>6} {2:>6}",
    ])  # fmt: skip


def test_bytes_are_exact_over_intervals(server: Host, client: Host) -> None:
    """Also of connections that end meanwhile, whose places are taken by others."""
    tool = Running("tcptop", "--json", "--netns", str(server.pid), "0.1")
    wait_until_attached(tool)
    server.listen("127.0.0.1", 5000)
    expected: Counter[tuple[Any, ...]] = Counter()
    for size in (1, 10, 5000, 100, 70000, 3):
        port = client.connect("127.0.0.1", 5000)
        server.accept()
        for _ in range(5):
            client.do(f"c.sendall(b'x' * {size}); time.sleep(0.03)")
            server.do(f"n = 0\nwhile n < {size}: n += len(s.recv(9000))")
        client.do("c.close()")
        server.do("s.close()")
        expected[client.pid, port, 5000, "tx"] = expected[server.pid, 5000, port, "rx"] = 5 * size
    found, busy = totals(tool)
    assert +found == expected and busy > 1


def test_ways_to_send_and_receive(server: Host, client: Host) -> None:
    tool = Running("tcptop", "--json", "--netns", str(server.pid), "100")
    wait_until_attached(tool)
    server.listen("127.0.0.1", 5000)
    port = client.connect("127.0.0.1", 5000)
    server.accept()
    client.do("import tempfile\nf = tempfile.TemporaryFile(); f.write(b'x' * 10000); f.flush(); n = 0\n"
              "while n < 10000: n += os.sendfile(c.fileno(), f.fileno(), n, 10000 - n)\n"
              "os.write(c.fileno(), b'y' * 10); c.sendmsg([b'z' * 20, b'z' * 30])")  # fmt: skip
    server.do("n = 0\nwhile n < 10060: n += len(os.read(s.fileno(), 5000))\n")
    found, _ = totals(tool)
    assert +found == {(client.pid, port, 5000, "tx"): 10060, (server.pid, 5000, port, "rx"): 10060}


def test_only_of_a_process_of_a_family(server: Host, client: Host) -> None:
    options: dict[tuple[str, ...], int] = {
        ("-p", str(client.pid)): 1, ("-4",): 2, ("-6",): 0, ("-u", "4321"): 0, ("--comm", client.comm): 2,
    }  # fmt: skip
    tools = {each: Running("tcptop", "--json", "--netns", str(server.pid), *each, "100") for each in options}
    for tool in tools.values():
        wait_until_attached(tool)
    talk(server, client)
    counts = {}
    for each, tool in tools.items():
        tool.process.send_signal(signal.SIGINT)
        (line,) = tool.wait()
        counts[each] = len(json.loads(line)["connections"])
    assert counts == options


def test_intervals_are_counted(server: Host) -> None:
    found = run("tcptop", "--netns", str(server.pid), "0.05", "3")
    lines = found.stdout.splitlines()
    assert found.returncode == 0 and len([line for line in lines if " loadavg: " in line]) == 3
    assert "\x1b" not in found.stdout  # no terminal is cleared that is none
