"""However a tracer ends, nothing of it stays: no program, map, link, mount, tracefs event or counter of listeners."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pybpf import Struct, Tracer, u64
from tests import leaks
from tests.attach.targets import Caller, finish, native_program, waiting
from tests.symbols.elfmaker import BASE, DATA

#: deaths by each signal; the long form: ``PYBPF_DEATHS=100 pytest tests/reliability/test_death.py``
DEATHS = int(os.environ.get("PYBPF_DEATHS", "4"))
ROOT = Path(__file__).parent.parent.parent
#: seconds within which the kernel frees what nobody holds any more
GRACE = 30.0

pytestmark = [pytest.mark.root, pytest.mark.generic]


class Call(Struct):
    number: u64


class Traced(NamedTuple):
    """The process that is traced."""

    pid: int
    program: str


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    program = native_program(tmp_path / "pybpf-dying")
    with waiting([program]) as process:
        yield Traced(process.pid, program)
        end = time.monotonic() + GRACE
        while _listeners(process.pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert _listeners(process.pid) == 0
        finish(process)  # it has not been harmed


def _listeners(pid: int) -> int:
    """What a program with a USDT probe looks at to know whether somebody listens."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(BASE + DATA)
        return int.from_bytes(memory.read(2), sys.byteorder)


def _mounts() -> list[str]:
    """Where tracefs is mounted, the one file system that pybpf mounts; other mounts of this machine come and go."""
    return [line for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines() if " - tracefs " in line]


def _ours_in_tracefs() -> list[str]:
    """The probes that were defined through tracefs, where that is mounted."""
    found = []
    for name in ("kprobe_events", "uprobe_events"):
        path = Path("/sys/kernel/tracing", name)
        if path.exists():
            found += [line for line in path.read_text("utf-8").splitlines() if "pybpf" in line]
    return found


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """After each test nothing of ours is in the kernel, tracefs or the mounts, and a tracer works as before."""
    before, mounts, probes = leaks.bpf_objects(), _mounts(), _ours_in_tracefs()
    assert before is not None
    yield
    assert leaks.leaked(before, GRACE) == set()
    assert _mounts() == mounts
    assert _ours_in_tracefs() == probes
    _still_works()


def _start(traced: Traced) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.reliability.dying", str(traced.pid), traced.program]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_at_any_moment(number: signal.Signals, traced: Traced) -> None:
    rng = random.Random(number)
    life = _die_attached(traced, number)
    for turn in range(DEATHS):
        process = _start(traced)
        try:
            time.sleep(1.3 * life * (turn + rng.random()) / DEATHS)  # every part of its life has its turn
            _end(process, number)
        finally:
            process.kill()
            process.communicate()


def _end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Signal the process until it ends, as a person at the keyboard would.

    CPython prints a KeyboardInterrupt that falls into a callback of a weak reference or a ``__del__`` and forgets it
    ("Exception ignored in"), so that one Ctrl-C in thousands has to be pressed again.
    """
    for last in (False, False, True):
        process.send_signal(number)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired as error:
            if last or b"Exception ignored in" not in (error.stderr or b""):
                raise
        else:
            return


def _die_attached(traced: Traced, number: signal.Signals) -> float:
    """End a tracer that is attached; how long it took to get there."""
    begin = time.monotonic()
    process = _start(traced)
    try:
        assert process.stdout is not None
        while process.stdout.readline() != "attached\n":
            assert process.poll() is None, process.communicate()
        life = time.monotonic() - begin
        assert _listeners(traced.pid) == 1
        _end(process, number)
    finally:
        process.kill()
        process.communicate()
    ended = {0} if number is signal.SIGINT else set()  # run() ends, if it has begun
    assert process.returncode in {-number, *ended}
    return life


def _still_works() -> None:
    with Caller() as caller:
        tracer = Tracer(pid=caller.pid)
        hits = tracer.count()

        @tracer.uprobe("libc.so.6", "getppid")
        def on_call() -> None:
            hits.add()

        with tracer:
            caller.call(100)
            assert hits.value == 100


def test_an_exception_of_the_user() -> None:
    with Caller() as caller:
        tracer = Tracer(pid=caller.pid)
        calls = tracer.events(Call)

        @tracer.uprobe("libc.so.6", "getppid")
        def on_call() -> None:
            calls.emit(number=1)

        def handler(event: object) -> None:
            raise ZeroDivisionError("the user's own")

        with pytest.raises(ZeroDivisionError, match="own"), tracer:
            caller.call(1)
            tracer.run({calls: handler}, duration=10)


_FORKS = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
sys.stdin.readline()
for turn in range(20):
    child = os.fork()
    for _ in range(50):
        libc.getppid()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_forks_of_the_traced_program_neither_stop_nor_disturb_it() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", _FORKS], stdin=subprocess.PIPE)
    try:
        tracer = Tracer(pid=process.pid)
        hits = tracer.count()

        @tracer.uprobe("libc.so.6", "getppid")
        def on_call() -> None:
            hits.add()

        with tracer:
            process.communicate(b"\n")
            assert process.returncode == 0
            assert hits.value == 20 * 50, "of the process itself, not of its children"
    finally:
        process.kill()
        process.communicate()


def test_stopped_and_continued(traced: Traced) -> None:
    """Both the tracer and what it traces; what is emitted meanwhile waits."""
    with Caller() as caller:
        tracer = Tracer(pid=caller.pid)
        calls = tracer.events(Call)

        @tracer.uprobe("libc.so.6", "getppid")
        def on_call() -> None:
            calls.emit(number=7)

        with tracer:
            caller.process.send_signal(signal.SIGSTOP)
            resume = threading.Timer(0.2, caller.process.send_signal, [signal.SIGCONT])
            resume.start()
            caller.call(10)
            resume.join()
            os.kill(os.getpid(), signal.SIGCONT)  # of a tracer that was stopped by Ctrl-Z
            assert [event.number for event in calls.read()] == [7] * 10
            assert calls.lost == 0
    process = _start(traced)
    try:
        assert process.stdout is not None
        while process.stdout.readline() != "running\n":
            assert process.poll() is None
        for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGINT):
            process.send_signal(number)
            time.sleep(0.1)
        out, error = process.communicate(timeout=60)
        assert (out, error, process.returncode) == ("done\n", "", 0)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("syscount", "-d", "0.2"), "pybpf syscount: No space left on device\n"),
        (("bt", "-q", "-o", "/dev/full", "-e", "interval:ms:5 { print(1); }"), "pybpf bt: No space left on device\n"),
        (("bt", "-q", "-B", "full", "-o", "/dev/full", "-e", "interval:ms:5 { @ = count(); exit(); }"),
         "pybpf bt: No space left on device\n"),
        (("opensnoop", "-d", "0.2", "--perfetto", "/dev/full"),
         "pybpf opensnoop: cannot write /dev/full: No space left on device\n"),
    ],
    ids=["output", "file", "buffered", "picture"],
)  # fmt: skip
def test_a_full_disk_is_said_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    command = [sys.executable, "-m", "pybpf", *arguments]
    output = subprocess.PIPE if "/dev/full" in arguments else None
    with Caller() as caller, open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([*command, "-p", str(caller.pid)], cwd=ROOT, stdout=output or full,
                              stderr=subprocess.PIPE, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == says
