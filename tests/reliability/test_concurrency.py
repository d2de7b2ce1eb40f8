"""Many tracers, one after the other, at once, in threads and in asyncio; and what is closed is closed."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from pybpf import ClosedError, Struct, Tracer, u32, u64
from pybpf.lang import tid
from tests import leaks
from tests.attach.targets import Caller

#: tracers in turn; the long form: ``PYBPF_TRACERS=200 pytest tests/reliability/test_concurrency.py``
IN_TURN = int(os.environ.get("PYBPF_TRACERS", "40"))
AT_ONCE = 20
#: how many calls each tracer sees
CALLS = 3

pytestmark = [pytest.mark.root, pytest.mark.generic]


class Call(Struct):
    tid: u32


class Made(NamedTuple):
    """A tracer of libc's ``getppid`` in one process, and all that it has."""

    tracer: Tracer
    calls: Any
    hits: Any
    counts: Any


def make(pid: int) -> Made:
    tracer = Tracer(pid=pid)
    made = Made(tracer, tracer.events(Call), tracer.count(), tracer.hash(u32, u64))
    calls, hits, counts = made[1:]

    @tracer.uprobe("libc.so.6", "getppid")
    def on_call() -> None:
        hits.add()
        counts[tid()] += 1
        calls.emit(tid=tid())

    return made


def _state() -> tuple[int, int, int]:
    """Threads, descriptors, resident kilobytes."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return threading.active_count(), len(leaks.descriptors()), pages * os.sysconf("SC_PAGE_SIZE") // 1024


def test_many_in_turn() -> None:
    """Descriptors and threads are what they were; memory stops growing."""
    with Caller() as caller:

        def once() -> None:
            made = make(caller.pid)
            with made.tracer:
                caller.call(CALLS)
                assert made.hits.value == CALLS == len(made.calls.read())

        for _ in range(IN_TURN // 4):
            once()
        before = _state()
        for _ in range(IN_TURN - IN_TURN // 4):
            once()
        after = _state()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 12 * 1024, f"KB that {IN_TURN - IN_TURN // 4} tracers left"


def test_many_at_once() -> None:
    with Caller() as caller, ExitStack() as stack:
        every = [make(caller.pid) for _ in range(AT_ONCE)]
        for made in every:
            stack.enter_context(made.tracer)
        caller.call(CALLS)
        for made in every:
            assert made.hits.value == CALLS
            assert len(made.calls.read()) == CALLS
        every[0].tracer.close()  # which is nothing to the others
        caller.call(CALLS)
        assert {made.hits.value for made in every[1:]} == {2 * CALLS}


def test_threads_of_their_own() -> None:
    """Compiled, attached, read and closed in threads, all at the same time."""
    found: list[int] = []

    def work(caller: Caller) -> None:
        for _ in range(3):
            made = make(caller.pid)
            with made.tracer:
                caller.call(CALLS)
                found.append(len(made.calls.read()))

    with ExitStack() as stack:
        callers = [stack.enter_context(Caller()) for _ in range(6)]
        threads = [threading.Thread(target=work, args=(caller,)) for caller in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [CALLS] * 18


def test_many_in_asyncio() -> None:
    async def watch(pid: int, ready: asyncio.Event) -> int:
        made = make(pid)
        seen = 0
        with made.tracer:
            ready.set()
            async for _ in made.calls:
                seen += 1
                if seen == CALLS:
                    return seen
        raise AssertionError("it ended by itself")

    async def main(caller: Caller) -> list[int]:
        ready = [asyncio.Event() for _ in range(AT_ONCE)]
        tasks = [asyncio.create_task(watch(caller.pid, each)) for each in ready]
        for each in ready:
            await each.wait()
        caller.call(CALLS)
        return await asyncio.wait_for(asyncio.gather(*tasks), 60)

    with Caller() as caller:
        assert asyncio.run(main(caller)) == [CALLS] * AT_ONCE


#: what needs the kernel's objects
USES: dict[str, Callable[[Made], object]] = {
    "read": lambda made: made.calls.read(),
    "poll": lambda made: made.calls.poll(0),
    "drain": lambda made: made.calls.drain(print),
    "fileno": lambda made: made.calls.fileno(),
    "value": lambda made: made.hits.value,
    "item": lambda made: made.counts[1],
    "items": lambda made: list(made.counts.items()),
    "store": lambda made: made.counts.__setitem__(1, 1),
    "run": lambda made: made.tracer.run(duration=0.1),
    "attach": lambda made: made.tracer.attach(),
}


@pytest.mark.parametrize("name", USES)
def test_use_after_close_raises(name: str) -> None:
    with Caller() as caller:
        made = make(caller.pid)
        with made.tracer:
            caller.call(CALLS)
        made.tracer.close()  # a second time: nothing happens
        with pytest.raises(ClosedError, match=r"clos"):
            USES[name](made)
        assert list(made.calls) == [], "what was closed has ended"


def test_closed_while_others_wait() -> None:
    """A loop over events in another thread ends, one that polls is told."""
    with Caller() as caller:
        made = make(caller.pid)
        seen: list[object] = []
        with made.tracer:
            thread = threading.Thread(target=lambda: seen.extend(made.calls))
            thread.start()
            caller.call(CALLS)
            end = time.monotonic() + 30
            while len(seen) < CALLS and time.monotonic() < end:
                time.sleep(0.01)
        thread.join(30)
        assert not thread.is_alive()
    assert len(seen) == CALLS
