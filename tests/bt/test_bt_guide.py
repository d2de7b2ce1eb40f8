"""The scripts and command lines of a guide to bpftrace: each runs as it stands, and prints what the guide promises.

On this machine only what a process of the test does is traced (``-p``, ``-c``); in guests of tests/vm the whole system.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from pybpf.arch import host_arch, syscall_names
from pybpf.symbols.library import find_binary
from tests.guide import find_guide

FOUND = find_guide()
GUIDE = FOUND or Path()
IN_GUEST = bool(os.environ.get("PYBPF_VM_KERNEL"))
pytestmark = [pytest.mark.root, pytest.mark.skipif(FOUND is None, reason="the guide is not beside the tree")]
here = pytest.mark.skipif(IN_GUEST, reason="shows the same on every kernel")
COMM = "guidework"
NUMBERS = {name: number for number, name in syscall_names(host_arch()).items()}
TIMEOUT = 120
LIBC = find_binary("c").path
X86_LIBC = Path("/lib/x86_64-linux-gnu/libc.so.6")
needs_libc = pytest.mark.skipif(not X86_LIBC.exists(), reason="the guide's scripts have the libc of Debian for x86_64")


class Ran(NamedTuple):
    """What a script printed, and what its workload did."""

    out: str
    work: str
    pid: int

    def has(self, pattern: str) -> re.Match[str]:
        """The one line that matches, once more where maps are printed at the end. PID: the workload's process."""
        found = list(re.finditer(f"^{pattern.replace('PID', str(self.pid))}$", self.out, re.MULTILINE))
        assert len({match[0] for match in found}) == 1, f"{pattern} in {self.out}"
        return found[0]

    def number(self, map_: str) -> int:
        """The number of an entry of a map."""
        return int(self.has(rf"{re.escape(map_)}: (-?\d+)")[1])

    def counts(self, map_: str) -> int:
        """How many values a histogram has."""
        text = self.out.partition(f"{map_}:\n")[2].partition("\n\n")[0]
        return sum(int(each) for each in re.findall(r"\s(\d+) \|", text))


def run(words: list[str], work: str, whole: bool = False) -> Ran:
    """Run ``pybpf bt`` with these words while a process does its work.

    :param whole: trace the whole system; else that process alone.
    """
    code = f"import sys; open('/proc/self/comm', 'w').write('{COMM}'); sys.stdin.readline()\n{work}"
    child = subprocess.Popen([sys.executable, "-S", "-c", code], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)  # fmt: skip
    only = [] if whole else ["-p", str(child.pid)]
    with child, subprocess.Popen([sys.executable, "-m", "pybpf", "bt", *only, *words], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tracer:  # fmt: skip
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        try:
            assert said.startswith("Attached "), said + tracer.stderr.read()
            did, _ = child.communicate("\n", timeout=TIMEOUT)
            if whole:
                tracer.send_signal(signal.SIGINT)
            out, rest = tracer.communicate(timeout=TIMEOUT)
        finally:
            child.kill()
            tracer.kill()
    assert tracer.returncode == 0 and not rest, rest
    return Ran(out, did, child.pid)


def script(name: str, work: str, whole: bool = False) -> Ran:
    """Run a script of the guide."""
    return run([str(GUIDE / name)], work, whole)


SYSCALLS = """
import os, time
for _ in range(5):
    os.getpgid(0)
for _ in range(3):
    try:
        os.close(-1)
    except OSError:
        pass
time.sleep(0.01)
"""


@pytest.mark.parametrize("whole", [pytest.param(False, marks=here), pytest.param(True, marks=pytest.mark.skipif(
    not IN_GUEST, reason="traces the whole host"))])  # fmt: skip
def test_syscall_analyzer(whole: bool) -> None:
    found = script("syscall_analyzer.bt", SYSCALLS, whole)
    getpgid, close = NUMBERS["getpgid"], NUMBERS["close"]
    assert found.number(f"@syscall_count[{getpgid}]") == 5
    assert found.number(f"@errors[{close}, -9]") == 3
    assert found.number(f"@process_syscalls[{COMM}]") >= 9
    assert found.number(f"@syscall_time_ns[{getpgid}]") > 0
    assert found.counts(f"@latency_hist[{getpgid}]") == 5
    assert re.search(rf"^@slow_syscalls\[\d+, {COMM}\]: [1-9]", found.out, re.MULTILINE)
    assert found.out.startswith("Starting comprehensive syscall analysis...\nPress Ctrl-C to see results.\n\n")


@here
def test_syscall_latency() -> None:
    found = script("syscall_latency.bt", SYSCALLS)
    assert found.out.startswith("Tracing syscall latency... Hit Ctrl-C to end.\n")
    assert found.counts(f"@latency_ns[{NUMBERS['getpgid']}]") == 5
    assert "@start" not in found.out


@here
def test_file_io(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("abcde")
    found = script("file_io_trace.bt", f"""
import os
fd = os.open("{tmp_path}/in", os.O_RDONLY)
os.read(fd, 100)
out = os.open("{tmp_path}/out", os.O_WRONLY | os.O_CREAT)
os.write(out, b"sevenby")
os.close(fd)
os.write(1, b"%d %d" % (fd, out))
""")
    fd, out = found.work.split()
    assert "=" * 80 in found.out.splitlines()
    found.has(rf"\d+ +PID +openat +{fd} +0x80000 +{re.escape(str(tmp_path))}/in")
    found.has(rf"\d+ +PID +openat +{out} +0x80041 +{re.escape(str(tmp_path))}/out")
    found.has(rf"\d+ +PID +read +{fd} +5 +{re.escape(str(tmp_path))}/in")
    found.has(rf"\d+ +PID +write +{out} +7 +{re.escape(str(tmp_path))}/out")
    found.has(rf"\d+ +PID +close +{fd} +- +{re.escape(str(tmp_path))}/in")
    found.has(rf"\d+ +PID +write +1 +{len(found.work)} +<unknown>")
    assert found.number(f"@read_bytes[{COMM}]") == 5
    assert found.number(f"@write_bytes[{COMM}]") == 7 + len(found.work)


@here
def test_containers() -> None:
    found = script("container_trace.bt", "import os\npid = os.fork()\nif not pid: os._exit(0)\nos.wait()\nprint(pid)")
    forked = found.has(rf"FORK: parent_pid=PID parent_comm={COMM} child_pid={found.work.strip()} cgroup=(\d+)")
    found.has(rf"EXIT: pid=PID comm={COMM} cgroup={forked[1]}")
    assert found.number(f"@procs_by_cgroup[{forked[1]}, {COMM}, {found.pid}]") >= 3


MALLOC = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
kept, freed = libc.malloc(3 << 20), libc.malloc(2 << 20)
libc.free(freed)
print(kept, freed)
"""


@here
@needs_libc
def test_malloc_profile() -> None:
    found = script("malloc_profile.bt", MALLOC)
    kept, freed = map(int, found.work.split())
    found.has(rf"Large malloc: {COMM} allocated {3 << 20} bytes at 0x{kept:x}")
    found.has(rf"Large malloc: {COMM} allocated {2 << 20} bytes at 0x{freed:x}")
    assert found.number(f"@outstanding[{kept}]") == 3 << 20
    assert f"@outstanding[{freed}]" not in found.out
    total = re.findall(rf"^@alloc_by_proc\[{COMM}\]: (\d+)$", found.out, re.MULTILINE)
    count = re.findall(rf"^@alloc_count_by_proc\[{COMM}\]: (\d+)$", found.out, re.MULTILINE)
    # printed by the script, and again at the end as all maps are
    assert len(total) == len(count) == 2 and total[0] == total[1] and int(total[0]) >= 5 << 20
    assert found.counts("@alloc_sizes") == int(count[0])


@here
@needs_libc
def test_dns_latency() -> None:
    hosts = "127.0.0.1", "localhost"
    found = script("dns_latency.bt", f"import socket\nfor host in {hosts}: socket.getaddrinfo(host, 1)")
    for host in hosts:
        found.has(rf"DNS lookup started: {host} \(pid=PID, comm={COMM}\)")
        found.has(rf"DNS lookup completed: {host} -> result=0 \(took \d+ ms\)")
    assert found.counts("@dns_latency_ms") == 2
    assert "=== Slow DNS Lookups (>100ms) ===" in found.out


@here
def test_application(tmp_path: Path) -> None:
    text = (GUIDE / "app_trace.bt").read_text()
    mine = tmp_path / "app_trace.bt"
    mine.write_text(text.replace("/path/to/your/application", str(LIBC)).replace("function_name", "strtol"))
    found = run([str(mine)], 'import ctypes\nprint(ctypes.CDLL(None).strtol(b"123x", None, 10))')
    assert found.work == "123\n"
    found.has(rf"ENTER: uprobe:{re.escape(str(LIBC))}:strtol called by {COMM} \(pid=PID\)")
    found.has(r"  arg0 = \d+, arg1 = 0")
    found.has(rf"EXIT: uretprobe:{re.escape(str(LIBC))}:strtol returned 123 \(took \d+ us\)")


@pytest.fixture
def address() -> Iterator[str]:
    """Of a web server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/page"
        server.shutdown()
        thread.join()


@here
@pytest.mark.skipif(not Path("/usr/lib/x86_64-linux-gnu/libcurl.so.4").exists() or shutil.which("curl") is None,
                    reason="curl is not installed")  # fmt: skip
def test_http(address: str) -> None:
    words = [sys.executable, "-m", "pybpf", "bt", "-c", f"curl -s {address}", str(GUIDE / "http_trace.bt")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    url = re.escape(address)
    for line in (rf"setopt +curl +\d+ +URL: {url}", rf"perform +curl +\d+ +Starting request to: {url}",
                 rf"complete +curl +\d+ +Completed: {url} \(result=0, took \d+ ms\)"):  # fmt: skip
        assert len(re.findall(f"^{line}$", done.stdout, re.MULTILINE)) == 1, done.stdout
    assert Ran(done.stdout, "", 0).counts("@request_latency_ms") == 1


# command lines


def one_liners() -> list[list[str]]:
    """The words behind ``bpftrace`` of the guide's command lines that have a program."""
    if FOUND is None:
        return []
    text = (GUIDE / "guide.md").read_text("utf-8")
    return [shlex.split(each) for each in re.findall(r"^ *sudo bpftrace ([^\n']*-e '[^']*')", text, re.MULTILINE)]


WORK = f"""
import os
fd = os.open("{__file__}", os.O_RDONLY)
os.read(fd, 3)
os.read(fd, 4)
os.execv("/bin/true", ["true"])
"""
#: text of a one-liner -> what it prints of WORK
SHOWN = {
    "@[comm] = count()": rf"@\[{COMM}\]: \d+",
    "sys_enter_execve": rf"{COMM} +PID +/bin/true",
    "sys_enter_openat": rf"{COMM} +PID +{re.escape(__file__)}",
    "@read_bytes": rf"@read_bytes\[{COMM}\]: 7",
    "libc.so.6:malloc": rf"@size\[{COMM}\]:",
    "hist(0)": "@map:",
}


@here
@needs_libc
def test_one_liners() -> None:
    lines = one_liners()
    assert len(lines) == len(SHOWN)
    for words in lines:
        (pattern,) = [shown for text, shown in SHOWN.items() if text in words[-1]]
        run(words, WORK).has(pattern)


@here
@pytest.mark.parametrize("words", ["-V", "-l tracepoint:*", "--info", "-v SCRIPT", "-d SCRIPT"])
def test_other_command_lines(words: str, tmp_path: Path) -> None:
    mine = tmp_path / "script.bt"
    mine.write_text('BEGIN { printf("ran\\n"); exit(); }')
    done = subprocess.run([sys.executable, "-m", "pybpf", "bt", *words.replace("SCRIPT", str(mine)).split()],
                          capture_output=True, text=True, timeout=TIMEOUT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = {"-V": "pybpf", "-l": "tracepoint:raw_syscalls:sys_enter\n", "--info": "kernel", "-v": "ran\n",
                "-d": "begin"}  # fmt: skip
    assert expected[words.split()[0]] in done.stdout.lower()


# the kernel's functions

CONNECTION = """
import os, socket
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
client = socket.create_connection(("127.0.0.1", port))
peer, (_, other) = server.accept()
for _ in range(3):
    client.sendall(bytes(100))
    assert len(peer.recv(4096)) == 100
    peer.sendall(bytes(10))
    assert len(client.recv(4096)) == 10
print(port, other)
"""


@pytest.mark.needs("kprobe")
def test_connections() -> None:
    found = script("tcp_connect.bt", CONNECTION, whole=True)
    port, _ = found.work.split()
    assert found.out.startswith("COMM             PID    DEST_IP          PORT  \n")
    found.has(rf"{COMM} +PID +127\.0\.0\.1 +{port} *")


@pytest.mark.needs("kretprobe")
def test_network() -> None:
    found = script("net_trace.bt", CONNECTION, whole=True)
    port, other = found.work.split()
    found.has(rf"connect +{COMM} +PID +[\d.]+ +\d+ +[\d.]+ +\d+ *")
    found.has(rf"accept +{COMM} +PID +127\.0\.0\.1 +{port} +127\.0\.0\.1 +{other} *")
    for map_, client, server in (("@tcp_send", 300, 30), ("@tcp_recv_count", 3, 3)):
        for end, number in ((port, client), (other, server)):
            key = f"{map_}[{COMM}, 127.0.0.1, {end}]"
            assert set(re.findall(rf"^{re.escape(key)}: (\d+)$", found.out, re.MULTILINE)) == {str(number)}


@pytest.mark.needs("kprobe")
def test_functions_are_listed() -> None:
    done = subprocess.run([sys.executable, "-m", "pybpf", "bt", "-l", "kprobe:*tcp*"], capture_output=True, text=True,
                          timeout=TIMEOUT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "kprobe:tcp_connect\n" in done.stdout
