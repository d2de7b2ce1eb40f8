"""The command lines that a well-known guide to BCC has: each works as it stands.

Only in virtual machines, for they trace the whole host.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs.cases import complaints
from tests.programs.disks import Disk

pytestmark = [
    pytest.mark.root, pytest.mark.generic,
    pytest.mark.skipif(not os.environ.get("PYBPF_VM_KERNEL"), reason="traces the whole host"),
]

#: command line -> what must be in its output while :func:`work` runs
ANYWHERE = {
    "execsnoop": "/bin/true",
    "execsnoop -x": "/nonexistent/program",
    "execsnoop -T -u 1000": "1000",
    "execsnoop -q": '"/bin/true"',
    "opensnoop": "/nonexistent/file",
    "opensnoop -p 1234": "/nonexistent/file",
    "opensnoop -x": "/nonexistent/file",
    'opensnoop -n "config"': "/nonexistent/config",
    "opensnoop -e": "/nonexistent/file",
    "trace 'p:c:malloc \"size=%zu\", arg1'": "size=",
    "trace 'p:c:write (arg2 > 1024) \"fd=%d, size=%zu\", arg1, arg2'": "fd=1, size=",
    "funccount 'c:malloc'": "malloc",
}
OF_DISKS = {
    "biolatency": "distribution",
    "biolatency -D": "disk = loop",
    "biolatency -m": "msecs",
    "biolatency -Q": "usecs",
    "biolatency 1 10": "usecs",
}
WITH_KPROBES = {
    "trace 'r::do_sys_openat2 \"ret=%d\", retval'": "ret=-2",
    "trace -T 'p::tcp_v4_connect \"dport=%d\", arg2'": "dport=",
    "funccount 'tcp_*'": "tcp_v4_connect",
    "funccount -i 1 5 'vfs_*'": "vfs_read",
    "funccount -P 'vfs_read'": "vfs_read",
}
WORK = r"""
import os, socket, subprocess, time
while True:
    subprocess.run(["/bin/true", "argument"])
    for path in ("/nonexistent/file", "/nonexistent/config"):
        try:
            open(path)
        except OSError:
            pass
    try:
        os.posix_spawn("/nonexistent/program", ["program"], {})
    except OSError:
        pass
    if os.fork() == 0:
        os.setuid(1000)
        os.execv("/bin/true", ["true", "1000"])
    os.wait()
    with socket.socket() as client:
        client.settimeout(0.1)
        client.connect_ex(("127.0.0.1", 9))
    os.write(1, b"x")
    time.sleep(0.02)
"""


#: how often what is to be seen has happened
Rounds = Callable[[], int]
#: what stands for a process in a command line
PROCESS = "1234"


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Rounds]:
    """Does what all of them show, until the test is over; each round writes a byte."""
    rounds = tmp_path / "rounds"
    with rounds.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", WORK], stdout=file, stderr=subprocess.DEVNULL)
    comm = subprocess.Popen(
        [sys.executable, "-c", "open('/proc/self/comm', 'w').write('configurator')\n" + WORK],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (tmp_path / PROCESS).write_text(str(process.pid))
    yield lambda: rounds.stat().st_size
    for each in (process, comm):
        each.kill()
        each.wait()


@pytest.fixture
def reads(disk: Disk) -> Iterator[Rounds]:
    """Reads from a disk until the test is over."""
    over = threading.Event()
    rounds = 0

    def read() -> None:
        nonlocal rounds
        while not over.is_set():
            disk.read(10)
            rounds += 1
            time.sleep(0.05)

    thread = threading.Thread(target=read)
    thread.start()
    yield lambda: rounds
    over.set()
    thread.join()


def shows(line: str, expected: str, rounds: Rounds) -> None:
    """Run a command line until it has shown what is expected, or could have; those that report at their end say when
    they begin.
    """
    words = shlex.split(line)
    process = subprocess.Popen([sys.executable, "-m", "pybpf", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(process.stdout or ()))
    reader.start()
    deadline = time.monotonic() + 90
    ends_itself = words[-1] == "10" or "5" in words
    enough: int | None = None
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        if enough is None and any("Hit Ctrl-C to end" in each for each in found):
            enough = rounds() + 3
        shown = any(expected in each for each in found) or (enough is not None and rounds() >= enough)
        if not ends_itself and (shown or time.monotonic() > deadline - 30):
            process.send_signal(signal.SIGINT)
            break
    reader.join(90)
    code, said = process.wait(60), (process.stderr.read() if process.stderr else "")
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    assert code == 0, said
    assert any(expected in line for line in found), ("".join(found)[-2000:], said)
    assert not [line for line in complaints(said) if " lost" not in line], said


@pytest.mark.parametrize("line", ANYWHERE)
def test_command_lines(line: str, work: Rounds, tmp_path: Path) -> None:
    shows(line.replace(PROCESS, (tmp_path / PROCESS).read_text()), ANYWHERE[line], work)


@pytest.mark.parametrize("line", OF_DISKS)
def test_command_lines_of_disks(line: str, reads: Rounds) -> None:
    shows(line, OF_DISKS[line], reads)


@pytest.mark.needs("kprobe")
@pytest.mark.parametrize("line", [
    # 400 functions: one by one they take an emulated kernel more than a minute
    pytest.param(line, marks=[pytest.mark.needs("kprobe_multi")] * ("tcp_*" in line)) for line in WITH_KPROBES
])  # fmt: skip
def test_command_lines_for_functions_of_the_kernel(line: str, work: Rounds) -> None:
    shows(line, WITH_KPROBES[line], work)
