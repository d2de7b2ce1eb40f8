"""What probes sent = what was delivered + what ``lost`` counts, however a tracer ends; for both kinds of buffer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pybpf import BpfError, ClosedError, Struct, Tracer, u32, u64
from pybpf.compiler.target import Target
from pybpf.lang import pid
from pybpf.lang.state.output import Events
from tests.attach.targets import Caller

pytestmark = [pytest.mark.root, pytest.mark.generic, pytest.mark.needs("uprobe")]
LIBC = "libc.so.6"


class Call(Struct):
    number: u64


class Traced:
    """A tracer that sends an event for each call of ``getppid`` by a process, and counts them."""

    def __init__(self, process: int, buffer: str, pages: int = 64, prints: bool = False) -> None:
        host = Target.host()
        target = replace(host, has=lambda name: (name != "ringbuf" or buffer == "ring") and host.has(name))
        self.lines: list[str] = []
        self.tracer = tracer = Tracer(pid=process, target=target, on_print=self.lines.append)
        self.sent = sent = tracer.count()
        self.calls: Events[Call] = tracer.events(Call, pages=pages)
        self.got: list[int] = []
        calls = self.calls

        @tracer.uprobe(LIBC, "getppid")
        def on_call() -> None:
            sent.add()
            calls.emit(number=pid())
            if prints:
                print(f"{pid()} called")

    def take(self, event: Call) -> None:
        self.got.append(event.number)

    def add_up(self, sent: int) -> None:
        """Check the sum when the tracer is closed."""
        assert self.tracer.closed
        assert len(self.got) + self.calls.lost == sent
        assert self.calls.unread <= self.calls.lost


@pytest.fixture(scope="module")
def child() -> Iterator[Caller]:
    with Caller() as process:
        yield process


def _nobody(traced: Traced, child: Caller) -> None:
    child.call(10)


def _read_some(traced: Traced, child: Caller) -> None:
    child.call(10)
    traced.got += [event.number for event in traced.calls.read()]
    child.call(10)


def _loop(traced: Traced, child: Caller) -> None:
    child.call(10)
    for event in traced.calls:
        traced.take(event)
        if len(traced.got) == 4:
            break


def _async_loop(traced: Traced, child: Caller) -> None:
    async def loop() -> None:
        async for event in traced.calls:
            traced.take(event)
            if len(traced.got) == 4:
                break

    child.call(10)
    asyncio.run(loop())


def _run(traced: Traced, child: Caller) -> None:
    child.call(10)
    traced.tracer.run({traced.calls: traced.take}, duration=0)
    assert len(traced.got) == 10
    child.call(10)


def _run_for_a_while(traced: Traced, child: Caller) -> None:
    """Ends while it waits, in the callback of an interval."""
    caller = threading.Timer(0.02, child.call, (10,))

    def end() -> None:
        if not caller.is_alive():
            signal.raise_signal(signal.SIGINT)

    caller.start()
    traced.tracer.run({traced.calls: traced.take}, every=0.03, callback=end)
    assert len(traced.got) == 10


def _callback(traced: Traced, child: Caller) -> None:
    child.call(10)
    traced.calls.drain(traced.take)
    child.call(10)


def _poll(traced: Traced, child: Caller) -> None:
    child.call(10)
    while len(traced.got) < 10:
        traced.tracer.poll({traced.calls: traced.take})
    child.call(10)


def _exception(traced: Traced, child: Caller) -> None:
    def fail(event: Call) -> None:
        traced.take(event)
        if len(traced.got) == 4:
            raise RuntimeError("enough")

    child.call(10)
    with pytest.raises(RuntimeError):
        traced.tracer.run({traced.calls: fail})
    assert len(traced.got) == 4


def _ctrl_c(traced: Traced, child: Caller) -> None:
    """What is there is delivered, then it ends."""

    def interrupt(event: Call) -> None:
        traced.take(event)
        if len(traced.got) == 4:
            child.call(5)
            signal.raise_signal(signal.SIGINT)

    child.call(10)
    traced.tracer.run({traced.calls: interrupt})
    assert len(traced.got) == 15


def _close_inside(traced: Traced, child: Caller) -> None:
    def close(event: Call) -> None:
        traced.take(event)
        if len(traced.got) == 4:
            traced.tracer.close()

    child.call(10)
    traced.tracer.run({traced.calls: close})
    assert len(traced.got) == 4


def _detach_first(traced: Traced, child: Caller) -> None:
    child.call(10)
    traced.tracer.detach()
    child.call(10)
    traced.got += [event.number for event in traced.calls.read()]
    assert len(traced.got) == 10


WAYS = [
    _nobody, _read_some, _loop, _async_loop, _run, _run_for_a_while, _callback, _poll, _exception, _ctrl_c,
    _close_inside, _detach_first,
]  # fmt: skip


@pytest.mark.parametrize("prints", [False, True], ids=["", "prints"])
@pytest.mark.parametrize("buffer", ["ring", "perf"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_sent_is_delivered_or_lost(
    child: Caller, way: Callable[[Traced, Caller], None], buffer: str, prints: bool
) -> None:
    traced = Traced(child.pid, buffer, prints=prints)
    with traced.tracer as tracer:
        way(traced, child)
        if not tracer.closed:
            tracer.detach()
            sent = traced.sent.value
        else:
            sent = 10
    assert sent >= 10
    traced.add_up(sent)
    if prints:
        assert len(traced.lines) + tracer.lost - traced.calls.lost == sent


@pytest.mark.parametrize("buffer", ["ring", "perf"])
def test_a_full_buffer_and_a_rest(child: Caller, buffer: str) -> None:
    traced = Traced(child.pid, buffer, pages=1)
    with traced.tracer:
        child.call(3000)
        traced.got += [event.number for event in traced.calls.read()]
        child.call(7)
    assert traced.calls.lost - traced.calls.unread > 0 and traced.calls.unread == 7
    traced.add_up(3007)


@pytest.mark.parametrize("buffer", ["ring", "perf"])
def test_another_thread_closes_in_a_flood(buffer: str) -> None:
    """The process goes on calling while the tracer is closed, so that programs run when it is detached."""
    code = "import os\nprint(flush=True)\nwhile True: os.getppid()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as flood:
        try:
            assert flood.stdout is not None
            flood.stdout.readline()
            traced = Traced(flood.pid, buffer, pages=4)
            counted: list[int] = []
            taken = threading.Event()

            def take(event: Any) -> None:
                traced.take(event)
                if len(traced.got) > 500:
                    taken.set()

            def end() -> None:
                taken.wait(60)
                traced.tracer.detach()
                counted.append(traced.sent.value)
                traced.tracer.close()

            with traced.tracer:
                closer = threading.Thread(target=end)
                closer.start()
                traced.tracer.run({traced.calls: take})
                closer.join()
        finally:
            flood.kill()
    assert traced.got
    traced.add_up(counted[0])


@pytest.mark.needs("raw_tp")
def test_programs_that_run_while_they_are_detached_are_waited_for() -> None:
    """Raw tracepoints of a process that makes system calls all the time, detached again and again."""
    code = "import os\nprint(flush=True)\nwhile True: os.getppid()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as flood:
        try:
            assert flood.stdout is not None
            flood.stdout.readline()
            for _ in range(5):
                tracer = Tracer(pid=flood.pid)
                sent, calls = tracer.count(), tracer.events(Call)

                @tracer.raw_tracepoint("sys_enter")
                def on_call(regs: Any, id: Any) -> None:
                    sent.add()  # noqa: B023
                    calls.emit(number=1)  # noqa: B023

                with tracer:
                    while not sent.value:
                        time.sleep(0.001)
                    got = len(calls.read())
                    tracer.detach()
                    count = sent.value
                assert got + calls.lost == count > 0
        finally:
            flood.kill()


def test_what_was_printed_is_written_at_the_end(child: Caller) -> None:
    traced = Traced(child.pid, "ring", prints=True)
    with traced.tracer:
        child.call(3)
    assert traced.lines == [f"{child.pid} called\n"] * 3
    assert traced.tracer.lost == traced.calls.unread == 3


def test_what_was_printed_is_written_when_it_is_detached(child: Caller) -> None:
    traced = Traced(child.pid, "ring", prints=True)
    with traced.tracer:
        child.call(2)
        traced.tracer.detach()
        assert len(traced.lines) == 2
    assert len(traced.lines) == 2


def test_a_loop_that_was_left_keeps_no_lines(child: Caller) -> None:
    """Iterators of events that are alive, and wait for being asked for more."""

    async def leave(traced: Traced) -> None:
        async for event in traced.calls:
            traced.take(event)
            break
        child.call(5)
        traced.tracer.detach()
        assert len(traced.lines) == 6

    traced = Traced(child.pid, "ring", prints=True)
    with traced.tracer:
        child.call(1)
        asyncio.run(leave(traced))
    traced = Traced(child.pid, "ring", prints=True)
    with traced.tracer:
        child.call(1)
        events = iter(traced.calls)
        traced.take(next(events))
        child.call(5)
        traced.tracer.detach()
        assert len(traced.lines) == 6
        assert traced.take(next(events)) is None and len(traced.got) == 2
        assert len(traced.lines) == 6
    assert traced.tracer.lost == traced.calls.unread == 4


def test_lines_that_cannot_be_written_are_counted_and_nothing_stays(child: Caller) -> None:
    """The last writing fails: the error is told, when everything is given back."""

    def refuse(text: str) -> None:
        raise BrokenPipeError

    tracer = Tracer(pid=child.pid, on_print=refuse)

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        print("called")

    with pytest.raises(BrokenPipeError), tracer:
        child.call(5)
    assert tracer.closed and tracer.lost == 4  # the first was delivered: to a function that failed
    with pytest.raises(BpfError):
        tracer.links(on_call)


def test_lines_are_left_to_the_thread_that_reads_them(child: Caller) -> None:
    """A thread in ``run`` writes; closing by another one waits for nobody, and counts what it did not write."""
    traced = Traced(child.pid, "ring", prints=True)
    entered, leave = threading.Event(), threading.Event()

    def slow(text: str) -> None:
        traced.lines.append(text)
        entered.set()
        leave.wait(60)

    traced.tracer.on_print = slow
    traced.tracer.attach()
    child.call(5)
    runner = threading.Thread(target=traced.tracer.run)
    runner.start()
    assert entered.wait(60)
    traced.tracer.close()
    leave.set()
    runner.join(60)
    assert not runner.is_alive()
    assert len(traced.lines) == 1 and traced.tracer.lost == 4 + 5  # lines, and events that nobody read


def test_after_close_reading_says_so(child: Caller) -> None:
    traced = Traced(child.pid, "ring")
    with traced.tracer:
        child.call(1)
    with pytest.raises(ClosedError):
        traced.calls.read()
    assert traced.calls.lost == 1 and os.getpid() != child.pid


class Wide(Struct):
    number: u32
    filling: u64


def test_of_several_streams_each_counts_its_own(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    first, second = tracer.events(Call), tracer.events(Wide)

    @tracer.uprobe(LIBC, "getppid")
    def on_call() -> None:
        first.emit(number=1)
        second.emit(number=2)
        second.emit(number=3)

    with tracer:
        child.call(4)
        assert len(first.read()) == 4
    assert (first.lost, second.lost, tracer.lost) == (0, 8, 8)
