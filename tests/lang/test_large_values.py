"""Values that do not fit the stack, in probes that the kernel may preempt: of each run its own."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from pybpf import Struct, Tracer, char, u32
from pybpf.lang import pid, read_user_str, user_ptr
from pybpf.sys.mount import detached_mount
from tests.conftest import IN_VM

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]

#: processes that take turns on one CPU
PROCESSES = 6
#: bytes of a text, its last one being the NUL
SIZE = 4000
#: events until which a kernel that preempts tasks has shown it: of an unprotected probe every 300th was mixed up
EVENTS = 2_000


class Compared(Struct):
    """The begins and ends of two texts."""

    pid: u32
    first: char[8]
    first_end: char[8]
    second: char[8]
    second_end: char[8]


@contextmanager
def full_preemption() -> Iterator[None]:
    """Let tasks be preempted in the kernel: of the guests only, the host's is its owner's."""
    with ExitStack() as stack:
        if IN_VM:
            with detached_mount("debugfs") as root, suppress(FileNotFoundError):  # some kernels have one way only
                mode = os.open("sched/preempt", os.O_RDWR, dir_fd=root.fileno())
                stack.callback(os.close, mode)
                before = os.read(mode, 100).decode()
                os.write(mode, b"full")
                stack.callback(os.write, mode, before[before.index("(") + 1 : before.index(")")].encode())
        yield


@contextmanager
def processes(work: Callable[[int], None]) -> Iterator[dict[int, int]]:
    """Children that do work with a number of their own on one CPU, until they are killed: pid -> number."""
    started: dict[int, int] = {}
    try:
        for number in range(PROCESSES):
            child = os.fork()
            if not child:
                try:
                    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
                    while True:
                        work(number)
                finally:
                    os._exit(1)
            started[child] = number
        yield started
    finally:
        for child in started:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def text(number: int, first: str) -> str:
    return chr(ord(first) + number) * (SIZE - 1)


def compare(number: int) -> None:
    """Call a function of two texts that hardly any other program calls."""
    function = ctypes.CDLL("libc.so.6").strverscmp
    one, other = text(number, "A").encode(), text(number, "a").encode()
    while True:
        function(one, other)


@pytest.mark.generic
def test_of_tasks_that_preempt_each_other_each_run_has_its_own_texts() -> None:
    tracer = Tracer(ppid=os.getpid())
    seen = tracer.events(Compared, pages=256)

    @tracer.uprobe("libc.so.6", "strverscmp")
    def probe(one: user_ptr(char), other: user_ptr(char)):  # type: ignore[valid-type]
        first = read_user_str(one, SIZE)
        second = read_user_str(other, SIZE)
        seen.emit(
            pid=pid(), first=first[0:7], first_end=first[3990:3997], second=second[0:7], second_end=second[3990:3997]
        )

    count, mixed = 0, []
    with full_preemption(), processes(compare) as running, tracer:
        end = time.monotonic() + 400  # emulated processors are slow
        while count < EVENTS and time.monotonic() < end:
            for event in seen.poll(0.1):
                count += 1
                number = running[event.pid]
                one, other = text(number, "A")[:7], text(number, "a")[:7]
                if (event.first, event.first_end, event.second, event.second_end) != (one, one, other, other):
                    mixed.append(event)
        # PROCESSES take no more areas than there are
        assert tracer.missed == 0
    assert count >= EVENTS
    assert not mixed, f"{len(mixed)} of {count} events are of two processes, as {mixed[0]}"
