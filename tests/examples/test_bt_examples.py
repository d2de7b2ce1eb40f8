"""The example scripts, each on what this test does while it runs: exact numbers."""

from __future__ import annotations

import ctypes
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import pybpf.bt
from pybpf.bt.command.main import main
from pybpf.bt.show.text import event_text
from pybpf.errors import CompileError
from tests.conftest import IN_VM
from tests.programs.disks import Disk

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "examples" / "bt").glob("*.bt"))
ME = os.getpid()
ABSENT = "/nowhere/at all"
#: scripts that have no filter: they would trace what others do
OF_ALL = frozenset({"tcpdrop", "writeback"})
READS = 16


def _run(name: str, act: Callable[[Path], object], until: Callable[[str], bool], path: Path) -> str:
    """What a script prints, to the maps at its end."""
    script = ROOT / "examples" / "bt" / f"{name}.bt"
    told = ""
    with pybpf.bt.run(script.read_text(), [str(ME)], file=str(script)) as running:
        act(path)
        deadline = time.monotonic() + 60
        while not until(told + "".join(map(event_text, running.shown_maps()))) and time.monotonic() < deadline:
            told += "".join(map(event_text, running.events(0.1)))
        told += "".join(map(event_text, running.stop()))
        return told + "".join(map(event_text, running.shown_maps()))


def _needs(name: str) -> None:
    """Skip where the kernel's types and tracepoints do not have what a script reads; this host's have it all."""
    script = ROOT / "examples" / "bt" / f"{name}.bt"
    try:
        pybpf.bt.compile_script(script.read_text(), str(script))
    except CompileError as error:
        if not re.search("nr_queued|reason", error.message):
            raise
        pytest.skip(f"{name}: {error.message}")


def _reads(path: Path) -> None:
    disk = Disk(path / "disk")
    disk.read(READS)
    disk.close()


def _spin(path: Path) -> None:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        os.getppid()


def _programs(path: Path) -> None:
    for _ in range(5):
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)


def _kills(path: Path) -> None:
    before = signal.signal(signal.SIGURG, signal.SIG_IGN)
    for _ in range(3):
        os.kill(ME, signal.SIGURG)
    with suppress(ProcessLookupError):
        os.kill(0x3FFFFF, signal.SIGURG)
    signal.signal(signal.SIGURG, before)


def _naps(path: Path) -> None:
    for _ in range(3):
        ctypes.CDLL(None).usleep(50_000)


def _opens(path: Path) -> None:
    (path / "file").write_text("")
    for each in (path / "file", Path(ABSENT)):
        with suppress(FileNotFoundError):
            os.close(os.open(each, os.O_RDONLY))


def _forks(path: Path) -> None:
    for _ in range(3):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)


def _users(path: Path) -> None:
    os.setuid(0)
    os.setresuid(0, 0, 0)


def _stats(path: Path) -> None:
    (path / "file").write_text("")
    os.stat(path / "file")
    os.statvfs(path / "file")
    with suppress(FileNotFoundError):
        os.lstat(ABSENT)


def _syncs(path: Path) -> None:
    with open(path / "file", "wb") as file:
        os.fsync(file)
        os.fdatasync(file)
        os.fsync(file)


def _calls(path: Path) -> None:
    for _ in range(500):
        os.getppid()


def _hosts(path: Path) -> None:
    for _ in range(4):
        socket.getaddrinfo("127.0.0.1", 80, flags=socket.AI_NUMERICHOST)


def _threads(path: Path) -> None:
    for _ in range(3):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()


def _sum(text: str) -> int:
    """How many values the histograms in a text have."""
    return sum(map(int, re.findall(r"^[\[(].*[\])]\s+(\d+) \|", text, re.MULTILINE)))


def _lines(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text, re.MULTILINE))


def _has(*wanted: tuple[str, int]) -> Callable[[str], bool]:
    """Whether so many lines of a text begin so; ``ME`` stands for this process."""
    return lambda text: all(_lines("^" + pattern.replace("ME", str(ME)), text) == count for pattern, count in wanted)


#: name -> what happens meanwhile, whether what the script prints is right
CASES: dict[str, tuple[Callable[[Path], object], Callable[[str], bool]]] = {
    "biolatency": (_reads, lambda text: _sum(text) >= READS),
    "biosnoop": (_reads, lambda text: _lines(rf"^\d+ +\S+ +{ME} +7,\d+ +R\S* +\d+ +4096 +\d+$", text) == READS),
    "biostacks": (_reads, lambda text: _sum(text) >= READS and "+" in text),
    "bitesize": (_reads, lambda text: sum(map(int, re.findall(r"^\[4K, 8K\) +(\d+) ", text, re.MULTILINE))) >= READS),
    "cpuwalk": (_spin, lambda text: _sum(text) > 0 and _lines(r"^\[\d+, \d+\)", text) <= (os.cpu_count() or 1)),
    "execsnoop": (_programs, _has((rf"\d+ +\d+ +ME +{re.escape(sys.executable)}$", 5))),
    "gethostlatency": (_hosts, _has((r"ME +\S+ +\d+ 127\.0\.0\.1$", 4))),
    "killsnoop": (_kills, _has((r"ME +\S+ +23 +ME +0$", 3), (r"ME +\S+ +23 +4194303 +-3$", 1))),
    "naptime": (_naps, _has((rf"{os.getppid()} +\S.* +ME +\S+ +0\.050$", 3))),
    "opensnoop": (_opens, _has((r"ME +\S+ +\d+ +0 \S+/file$", 2), (rf"ME +\S+ +-1 +2 {ABSENT}$", 1))),
    "pidpersec": (_forks, _has((r"\d\d:\d\d:\d\d @started: 3$", 1))),
    "runqlat": (_naps, lambda text: _sum(text) >= 3),
    "runqlen": (_spin, lambda text: _sum(text) > 0),
    "setuids": (_users, lambda text: (  # each thread of a process calls them
        0 < _lines(r"^\d+ +\S+ +0 +setuid +0 +0$", text) == _lines(r"^\d+ +\S+ +0 +setresuid +0 +0$", text))),
    "statsnoop": (_stats, _has((r"ME +\S+ +0 \S+/file$", 2), (rf"ME +\S+ +2 {ABSENT}$", 1))),
    "syncsnoop": (_syncs, _has((r"\d+ +ME +\S+ +tracepoint:syscalls:sys_enter_fsync$", 2),
                               (r"\d+ +ME +\S+ +tracepoint:syscalls:sys_enter_fdatasync$", 1))),
    "syscount": (_calls, lambda text: not text or _lines(r"^@by_number\[\d+\]: 500$", text) == 1),
    "threadsnoop": (_threads, _has((r"\d+ +ME +\S+ +(0x\w+|\w+)$", 3))),
}  # fmt: skip


def test_each_script_has_a_case() -> None:
    assert set(SCRIPTS) == {*CASES, *OF_ALL, "bashreadline"} and len(SCRIPTS) >= 20


@pytest.mark.native
@pytest.mark.parametrize("name", CASES)
def test_a_script_tells_what_happened(name: str, tmp_path: Path) -> None:
    act, right = CASES[name]
    _needs(name)
    told = _run(name, act, right, tmp_path)
    assert right(told), told


@pytest.mark.native
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_lines_of_shells() -> None:
    shell, terminal = pty.fork()
    if not shell:
        os.execlp("bash", "bash", "--norc", "--noprofile", "-i")
    said = b""
    while not said.endswith((b"# ", b"$ ")):  # it waits in readline() already: the probe misses that call
        said += os.read(terminal, 4096)
    script = ROOT / "examples" / "bt" / "bashreadline.bt"
    with pybpf.bt.run(script.read_text(), [str(shell)]) as running:
        os.write(terminal, b"true\necho one\nexit\n")
        with suppress(OSError):  # the terminal's end
            while os.read(terminal, 4096):
                pass
        os.waitpid(shell, 0)
        told = "".join(map(event_text, running.stop()))
    os.close(terminal)
    assert told == f"PID     LINE\n{shell:<7} echo one\n{shell:<7} exit\n"


@pytest.mark.native
@pytest.mark.parametrize("name", sorted(OF_ALL))
def test_scripts_without_a_filter_compile(name: str) -> None:
    assert main(["--dry-run", str(ROOT / "examples" / "bt" / f"{name}.bt")]) == 0


@pytest.mark.skipif(not IN_VM, reason="traces what others do")
def test_dropped_packets(tmp_path: Path) -> None:
    def refused(path: Path) -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))  # nobody listens
            for _ in range(3):
                with socket.socket() as client:
                    assert client.connect_ex(server.getsockname())

    def dropped(text: str) -> bool:
        return sum(map(int, re.findall(r"]: (\d+)$", text, re.MULTILINE))) >= 3

    _needs("tcpdrop")
    assert dropped(_run("tcpdrop", refused, dropped, tmp_path))
