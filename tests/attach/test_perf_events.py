"""Perf events and intervals: page faults, clocks and counters of this process."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from pybpf.asm import DW, R0, R1, Code, atomic_add, exit_, ld_map_value, mov
from pybpf.attach import PerfEvent, find_event, interval, perf_event
from pybpf.attach.events import event_names
from pybpf.errors import KernelError, NotFoundError, PackError, UnsupportedError
from pybpf.maps import Array
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import ProgType
from pybpf.sys.cpus import online_cpus
from pybpf.sys.features import has
from pybpf.sys.perf import PerfType, Software
from pybpf.types import u64
from tests.attach.counting import BY_COOKIE, counter, counting

pytestmark = [pytest.mark.root, pytest.mark.needs("perf_event")]

PAGES = 400
#: faults of the interpreter itself meanwhile
NOISE = 120


def fault(pages: int = PAGES) -> None:
    """Touch fresh pages, one fault each."""
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            with contextlib.suppress(OSError):  # the kernel has no huge pages
                memory.madvise(mmap.MADV_NOHUGEPAGE)
        buffer = ctypes.c_char.from_buffer(memory)
        ctypes.memset(ctypes.addressof(buffer), 1, pages * mmap.PAGESIZE)
        del buffer


def spin_until(enough: Callable[[], bool]) -> float:
    """Keep the processor busy for as long as it takes: how many seconds."""
    begin = time.monotonic()
    while not enough() and time.monotonic() < begin + 60:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    return time.monotonic() - begin


def test_every_page_fault_of_a_process() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with perf_event(counted.program, "page-faults", period=1, pid=os.getpid()) as links:
            assert len(links) == len(os.listdir("/proc/self/task"))
            fault()
        first = counted.count
        assert PAGES <= first <= PAGES + NOISE
        fault()
        assert counted.count == first


def test_every_page_fault_on_every_cpu() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with perf_event(counted.program, "page-faults", period=1) as links:
            assert len(links) == len(online_cpus())
            fault()
        assert PAGES <= counted.count <= PAGES + NOISE


def test_threads_that_start_later_are_counted() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with perf_event(counted.program, "page-faults", period=1, pid=os.getpid()):
            thread = threading.Thread(target=fault)
            thread.start()
            thread.join()
        # Linux 5.13 has INHERIT_THREAD, and 5.11 has accounting by cgroup; there is no probe for the first
        if not has("memcg_accounting") and counted.count <= NOISE:
            pytest.skip("kernel lacks memcg_accounting, and so INHERIT_THREAD, which came two releases later")
        assert PAGES <= counted.count <= PAGES + NOISE


def test_threads_that_were_there_are_counted() -> None:
    go, done = threading.Event(), threading.Event()

    def wait() -> None:
        go.wait()
        fault()
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        with counter(ProgType.PERF_EVENT) as counted:
            with perf_event(counted.program, "page-faults", period=1, pid=os.getpid()) as links:
                assert len(links) >= 2
                go.set()
                done.wait()
            assert PAGES <= counted.count <= PAGES + NOISE
    finally:
        go.set()
        thread.join()


@pytest.mark.parametrize("always", [False, True])
def test_threads_that_start_meanwhile(always: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the list of threads and their events: such a thread inherits nothing. One that starts them all the time
    is attached to nevertheless.
    """
    module = sys.modules[perf_event.__module__]
    list_threads = module._threads
    go = threading.Event()
    started: list[threading.Thread] = []

    def work() -> None:
        go.wait()
        fault()

    def list_and_start(pid: int) -> list[int]:
        listed: list[int] = list_threads(pid)
        if always or not started:
            started.append(threading.Thread(target=work))
            started[-1].start()
        return listed

    monkeypatch.setattr(module, "_threads", list_and_start)
    try:
        with counter(ProgType.PERF_EVENT) as counted:
            with perf_event(counted.program, "page-faults", period=1, pid=os.getpid()):
                go.set()
                for thread in started:
                    thread.join()
            known = len(started) - 2 if always else 1  # the last two: during the last attempt, and after it
            assert known * PAGES <= counted.count <= len(started) * (PAGES + NOISE)
    finally:
        go.set()


def test_process_that_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    monkeypatch.setattr(sys.modules[perf_event.__module__], "_threads", lambda pid: [pid])
    with counter(ProgType.PERF_EVENT) as counted, pytest.raises(NotFoundError, match=f"process {ended.pid} has ended"):
        perf_event(counted.program, "page-faults", period=1, pid=ended.pid)


def test_child_processes_are_not_counted() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with perf_event(counted.program, "page-faults", period=1, pid=os.getpid()):
            before = counted.count
            child = os.fork()
            if not child:
                fault()
                os._exit(0)
            os.waitpid(child, 0)
        # the program looks at the process too, so this only shows that a fork does no harm
        assert counted.count - before < PAGES + NOISE


def test_period_divides() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with perf_event(counted.program, "page-faults", period=10, pid=os.getpid()):
            fault()
        assert PAGES // 10 <= counted.count <= (PAGES + NOISE) // 10 + 1


def test_sampling_by_frequency() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with perf_event(counted.program, "cpu-clock", frequency=99) as links:
            assert len(links) == len(online_cpus())
            spent = spin_until(lambda: counted.count >= 20)
        assert 20 <= counted.count <= 40 + 4 * 99 * spent


def test_sampling_of_user_code_only() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with perf_event(counted.program, "cpu-clock", period=1_000_000, pid=os.getpid(), user_only=True):
            spin_until(lambda: counted.count > 0)
        assert counted.count > 0


@pytest.mark.needs("cookies")
def test_cookie() -> None:
    with counter(ProgType.PERF_EVENT, counting(key=BY_COOKIE)) as counted:
        with perf_event(counted.program, "page-faults", period=1, pid=os.getpid(), cookie=5):
            fault()
        assert counted.counts[5] >= PAGES
        assert sum(counted.counts) == counted.counts[5]


def test_one_cpu() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        links = perf_event(counted.program, "cpu-clock", frequency=10, cpu=online_cpus()[-1])
        with links:
            assert len(links) == 1


def test_hardware_counter_or_clock() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        if not has("perf_hardware"):
            with pytest.raises(UnsupportedError):
                perf_event(counted.program, "cpu-cycles", frequency=99)
            with pytest.raises(UnsupportedError):
                perf_event(counted.program, "cpu-cycles", period=1_000_000, or_clock=True)
        with perf_event(counted.program, "cpu-cycles", frequency=99, or_clock=True):
            spin_until(lambda: counted.count >= 5)
        assert counted.count >= 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "exactly one of period and frequency"),
        ({"period": 1, "frequency": 1}, "exactly one of period and frequency"),
        ({"period": 0}, "period must be above 0"),
        ({"frequency": -1}, "frequency must be above 0"),
        ({"period": 1 << 63}, r"period must be above 0 and below 2\*\*63"),
        ({"period": 1 << 64}, r"below 2\*\*63"),
        ({"frequency": 1 << 64}, r"below 2\*\*63"),
        ({"frequency": 1_000_000_000}, "samples a second are more than the limit"),
    ],
)
def test_wrong_sampling(arguments: dict[str, int], says: str) -> None:
    with counter(ProgType.PERF_EVENT) as counted, pytest.raises(KernelError, match=says):
        perf_event(counted.program, "cpu-clock", **arguments)


def test_no_process() -> None:
    with counter(ProgType.PERF_EVENT) as counted, pytest.raises(NotFoundError, match="no process 1073741824"):
        perf_event(counted.program, "cpu-clock", frequency=99, pid=1 << 30)


def test_wrong_program() -> None:
    with counter(ProgType.TRACEPOINT) as counted, pytest.raises(KernelError, match="perf_event is needed"):
        perf_event(counted.program, "cpu-clock", frequency=99)


def test_events_by_name() -> None:
    assert find_event("cpu-clock") == PerfEvent("cpu-clock", PerfType.SOFTWARE, Software.CPU_CLOCK)
    assert find_event("cycles") == ("cycles", PerfType.HARDWARE, 0)
    assert find_event("ref-cycles") == ("ref-cycles", PerfType.HARDWARE, 9)
    assert find_event("L1-dcache-loads") == ("L1-dcache-loads", PerfType.HW_CACHE, 0)
    assert find_event("LLC-store-misses") == ("LLC-store-misses", PerfType.HW_CACHE, 2 | 1 << 8 | 1 << 16)
    assert find_event("dTLB-prefetches") == ("dTLB-prefetches", PerfType.HW_CACHE, 3 | 2 << 8)
    assert find_event("r01c2") == ("r01c2", PerfType.RAW, 0x1C2)
    assert all(find_event(name).name == name for name in event_names())
    with pytest.raises(NotFoundError, match="did you mean page-faults"):
        find_event("page-fault")


# --- intervals ------------------------------------------------------------------------------------------------


def test_interval() -> None:
    """It runs on an idle CPU too, so not in this process: every run counts."""
    code = Code([ld_map_value(R1, "hits"), mov(R0, 1), atomic_add(DW, R1, 0, R0), mov(R0, 0), exit_()])
    spec = ProgramSpec(ProgType.PERF_EVENT, code, "tick")
    with Array(u64, max_entries=1, name="hits") as hits, Program.load(spec, {"hits": hits}) as program:
        start = time.monotonic()
        with interval(program, 5_000_000):
            while hits[0] < 10 and time.monotonic() < start + 60:
                time.sleep(0.01)
        elapsed = time.monotonic() - start
        counted = hits[0]
        time.sleep(0.05)
        assert hits[0] == counted
    assert counted <= elapsed / 0.005 + 1
    assert counted >= 10


def test_interval_on_a_cpu() -> None:
    with counter(ProgType.PERF_EVENT) as counted, interval(counted.program, 10_000_000, cpu=online_cpus()[-1]) as link:
        assert link.target == "interval:10000000ns"


@pytest.mark.parametrize(("cpu", "says"), [(-1, "neither a process nor a CPU"), (77777, "there is no CPU 77777")])
def test_cpu_that_is_not_there(cpu: int, says: str) -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with pytest.raises(KernelError, match=says):
            interval(counted.program, 10_000_000, cpu=cpu)
        with pytest.raises(KernelError, match=says):
            perf_event(counted.program, "cpu-clock", frequency=10, cpu=cpu)


def test_cpu_whose_low_bits_are_another() -> None:
    with counter(ProgType.PERF_EVENT) as counted:
        with pytest.raises(PackError, match="is not the number of a CPU"):
            interval(counted.program, 10_000_000, cpu=1 << 32)
        with pytest.raises(PackError, match="is not the number of a CPU"):
            perf_event(counted.program, "cpu-clock", frequency=10, cpu=1 << 40)


@pytest.mark.parametrize("period", [0, -1, 9_999, 1 << 63, 1 << 64])
def test_interval_too_short_or_too_long(period: int) -> None:
    with counter(ProgType.PERF_EVENT) as counted, pytest.raises(KernelError, match="the shortest interval is 10000 ns"):
        interval(counted.program, period)
