"""Processes in network namespaces of their own, which do what a test tells them."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.programs.cases import Running

__all__ = [
    "ADDRESSES", "NAME_SERVER", "ROUTED", "TOTAL_RETRANS", "Host", "Routed", "deaf", "hears", "inside", "talk",
    "wait_until_attached", "wire",
]  # fmt: skip

# Runs the Python that comes as JSON strings, a line each; `result` is sent back.
AGENT = r"""
import fcntl, json, os, socket, struct, sys, time
AF_INET, AF_INET6 = socket.AF_INET, socket.AF_INET6
lo = struct.pack("16sH14x", b"lo", 0)
with socket.socket() as s:
    flags = struct.unpack_from("H", fcntl.ioctl(s, 0x8913, lo), 16)[0]
    if not flags & 1:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", flags | 1))
scope = dict(globals())
print("ready", flush=True)
for line in sys.stdin:
    scope["result"] = None
    exec(json.loads(line), scope)
    print(json.dumps(scope["result"]), flush=True)
"""


#: What the name server of a host answers: name -> addresses, before them an alias. Other names do not exist.
ADDRESSES = {
    "one.example": ["127.0.0.1"], "two.example": ["127.0.0.2", "::1"], "alias.example": ["real.example", "127.0.0.3"],
}  # fmt: skip

# A name server at 127.0.0.1, and a resolver that asks it alone.
NAME_SERVER = r"""
import subprocess, tempfile, threading
if os.path.exists("/etc/resolv.conf"):
    with tempfile.NamedTemporaryFile() as empty:
        subprocess.run(["mount", "--bind", empty.name, "/etc/resolv.conf"], check=True)

def label(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"

def answer(kind, text):
    if not (":" in text or text[0].isdigit()):
        return 5, label(text)
    return (28, socket.inet_pton(AF_INET6, text)) if ":" in text else (1, socket.inet_pton(AF_INET, text))

def serve(s):
    while True:
        data, who = s.recvfrom(2000)
        end, name = 12, []
        while data[end]:
            name.append(data[end + 1 : end + 1 + data[end]].decode())
            end += 1 + data[end]
        kind, = struct.unpack_from(">H", data, end + 1)
        known = addresses.get(".".join(name))
        records = [answer(kind, each) for each in known or ()]
        records = [each for each in records if each[0] in (5, kind)]
        head = data[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(records), 0, 0)
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", t, 1, 60, len(d)) + d for t, d in records)
        s.sendto(head + data[12 : end + 5] + body, who)

names = socket.socket(AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
threading.Thread(target=serve, args=(names,), daemon=True).start()
"""


#: bytes that go through a router without room
ROUTED = 300_000


class Host:
    """A process in a new network namespace, with its loopback up; or in that of another host.

    :param beside: a host whose namespace it shares.
    """

    def __init__(self, beside: Host | None = None) -> None:
        into = ["unshare", "-n", "-m"] if beside is None else ["nsenter", "-t", str(beside.pid), "-n", "-m"]
        words = [*into, sys.executable, "-u", "-c", AGENT]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self._expect("ready\n")
        self.comm = Path(f"/proc/{self.pid}/comm").read_text().strip()

    def _expect(self, line: str) -> None:
        assert self.process.stdout
        found = self.process.stdout.readline()
        assert found == line, found

    def do(self, code: str) -> Any:
        """Run some Python in it; returns what that assigns to ``result``."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def serve_names(self) -> None:
        """Be the name server of the namespace, for this process's own resolver too."""
        self.do(f"addresses = {ADDRESSES!r}\n{NAME_SERVER}")

    def listen(self, address: str, port: int) -> None:
        """Make it a server; ``accept`` and ``connect`` leave ``c`` and ``s`` in its scope."""
        self.do(f"l = socket.socket(AF_INET6 if ':' in {address!r} else AF_INET)\n"
                "l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
                f"l.bind(({address!r}, {port})); l.listen()")  # fmt: skip

    def connect(self, address: str, port: int, name: str = "c") -> int:
        """Connect; the local port."""
        found = self.do(
            f"{name} = socket.socket(AF_INET6 if ':' in {address!r} else AF_INET)\n{name}.settimeout(20)\n"
            f"{name}.connect(({address!r}, {port}))\nresult = {name}.getsockname()[1]"
        )
        assert isinstance(found, int)
        return found

    def accept(self, name: str = "s") -> None:
        self.do(f"{name} = l.accept()[0]\n{name}.settimeout(20)")

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(BrokenPipeError):
            self.process.communicate(timeout=60)


def talk(server: Host, client: Host, address: str = "127.0.0.1", port: int = 5000, first: str = "client") -> int:
    """A connection over which 5000 bytes go to the server and 3000 come back; ``first`` ends it. The client's port."""
    server.listen(address, port)
    source = client.connect(address, port)
    server.accept()
    client.do("c.sendall(b'x' * 5000)")
    server.do("n = 0\nwhile n < 5000: n += len(s.recv(9000))\ns.sendall(b'y' * 3000)")
    client.do("n = 0\nwhile n < 3000: n += len(c.recv(9000))")
    ends = [client, server] if first == "client" else [server, client]
    for host in ends:
        host.do("x = c if 'c' in globals() else s\nx.shutdown(1)")
    for host in ends:
        host.do("x.recv(1); x.close()")
    return source


def wait_until_attached(tool: Running) -> None:
    """Of a tool that prints no header: it says on stderr what it is attached to."""
    tool.attached()


def deaf(host: Host) -> None:
    """Let the server's connection drop all packets that it is sent, so that nobody acknowledges them."""
    host.do("import ctypes; nothing = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0))\n"
            # SO_ATTACH_FILTER
            "s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HL', 1, ctypes.addressof(nothing)))")  # fmt: skip


def hears(host: Host) -> None:
    """It takes packets again."""
    host.do("s.setsockopt(socket.SOL_SOCKET, 27, 0)")  # SO_DETACH_FILTER


#: struct tcp_info: where tcpi_total_retrans is
TOTAL_RETRANS = "struct.unpack_from('I', c.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 100)[0]"


def wire(one: Host, other: Host, net: str, names: tuple[str, str]) -> None:
    """A cable between two hosts: ``one`` has the address NET.1, ``other`` NET.2."""
    done = subprocess.run(["ip", "link", "add", "name", names[0], "netns", str(one.pid), "type", "veth",
                           "peer", "name", names[1], "netns", str(other.pid)],
                          check=False, capture_output=True, text=True)  # fmt: skip
    if done.returncode:  # "Unknown device type." is all that ip says of a kernel without it
        assert "Unknown device type" in done.stderr or "not supported" in done.stderr, done.stderr
        pytest.skip("the kernel has no veth devices")
    for number, (host, name) in enumerate(((one, names[0]), (other, names[1])), 1):
        inside(host, "ip", "address", "add", f"{net}.{number}/24", "dev", name)
        inside(host, "ip", "link", "set", "dev", name, "up")


def inside(host: Host, *command: str) -> str:
    """Run a command in a host's network namespace; what it prints."""
    words = ["nsenter", "-t", str(host.pid), "-n", *command]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


class Routed:
    """A sender, a receiver, and a router between them that has room for one packet: a fast sender loses many, which are
    sent again at once.

    :ivar out: the router's device towards the receiver.
    :ivar ends: the addresses of sender and receiver.
    """

    out = "to_d"
    ends = ("10.7.1.1", "10.7.2.2")

    def __enter__(self) -> Routed:
        with ExitStack() as stack:
            self.sender, self.router, self.receiver = (stack.enter_context(Host()) for _ in range(3))
            wire(self.sender, self.router, "10.7.1", ("to_b", "to_a"))
            wire(self.router, self.receiver, "10.7.2", (self.out, "to_c"))
            self.router.do("open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')")
            # what IPv6 says of itself, some seconds after a device is up, may be dropped as well
            self.router.do(f"open('/proc/sys/net/ipv6/conf/{self.out}/disable_ipv6', 'w').write('1')")
            inside(self.sender, "ip", "link", "set", "dev", "to_b", "gso_max_segs", "1")  # a packet is one segment
            inside(self.sender, "ip", "route", "add", "10.7.2.0/24", "via", "10.7.1.2")
            inside(self.receiver, "ip", "route", "add", "10.7.1.0/24", "via", "10.7.2.1")
            bucket = ["tbf", "rate", "5mbit", "burst", "3k", "limit", "6k"]
            inside(self.router, "tc", "qdisc", "add", "dev", self.out, "root", *bucket)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def send(self) -> int:
        """Send ``ROUTED`` bytes, until they have arrived; the sender's port."""
        self.receiver.listen(self.ends[1], 5000)
        port = self.sender.connect(self.ends[1], 5000)
        self.receiver.accept()
        self.sender.do(f"import threading; t = threading.Thread(target=c.sendall, args=(b'x' * {ROUTED},)); t.start()")
        self.receiver.do(f"n = 0\nwhile n < {ROUTED}: n += len(s.recv(65536))")
        self.sender.do("t.join()")
        return port
