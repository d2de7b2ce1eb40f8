"""Stacks know their frames wherever Python reads one: events, keys and values of every map, aggregates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pybpf import BpfError, Struct, Tracer, u32, u64
from pybpf.lang import UserStack, pid, user_stack
from tests.attach.targets import Caller

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]
LIBC = "libc.so.6"


class Inside(Struct):
    number: u32
    stack: UserStack


class Seen(Struct):
    pid: u32
    one: UserStack
    many: UserStack[2]
    inside: Inside


@pytest.fixture(scope="module")
def child() -> Iterator[Caller]:
    with Caller() as process:
        yield process


def named(stack: Any) -> bool:
    """Whether it is the stack of a call of ``getppid``, with the name of its frame."""
    return isinstance(stack, UserStack) and stack.frames[0].name == "getppid"


def traced(tracer: Tracer, probe: Callable[[], None]) -> Tracer:
    tracer.uprobe(LIBC, "getppid")(probe)
    return tracer


def test_events_by_every_reader(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    seen = tracer.events(Seen)

    def probe() -> None:
        stack = user_stack()
        seen.emit(pid=pid(), one=stack, many=(stack, stack), inside=Inside(7, stack))

    def check(event: Seen) -> None:
        assert event.pid == child.pid and event.inside.number == 7
        assert all(map(named, [event.one, *event.many, event.inside.stack]))

    drained: list[Seen] = []
    with traced(tracer, probe):
        for read in (seen.read, lambda: seen.poll(10), lambda: [next(iter(seen))]):
            child.call(1)
            (event,) = read()
            check(event)
        child.call(1)
        assert seen.drain(drained.append) == 1
        child.call(1)
        assert tracer.poll({seen: drained.append}) == 1
        for event in drained:
            check(event)
    with pytest.raises(BpfError, match="closed"):
        _ = drained[0].one.frames


def test_keys_and_values_of_maps(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    by_stack = tracer.hash(UserStack, u64)
    recent = tracer.lru_hash((UserStack, u32), Inside)
    each_cpu = tracer.percpu_hash(UserStack, Inside)
    inner = tracer.hash(u32, Inside)
    outer = tracer.hash_of_maps(u32, inner)
    places, last = tracer.array(Inside, 2), tracer.variable(UserStack)
    queue, pile = tracer.queue(Inside), tracer.stack(UserStack)

    def probe() -> None:
        stack = user_stack()
        by_stack[stack] += 1
        recent[stack, 3] = each_cpu[stack] = places[1] = Inside(1, stack)
        last.value = stack
        queue.push(Inside(1, stack))
        pile.push(stack)
        found = outer[1]
        if found is not None:
            found[1] = Inside(1, stack)

    with traced(tracer, probe):
        outer[1] = inner
        child.call(2)
        assert [count for stack, count in by_stack.items() if named(stack)] == [2]
        assert [value.number for (stack, _), value in recent.items() if named(stack) and named(value.stack)] == [1]
        ((stack, values),) = each_cpu.items()
        assert named(stack) and any(named(value.stack) for value in values if value.number)
        assert named(places[1].stack) and named(last.value) and named(inner[1].stack)
        assert named(queue.peek().stack) and named(queue.pop().stack) and named(pile.pop())
        assert [named(value.stack) for value in queue.drain()] == [True]
        assert [named(stack) for stack, _ in by_stack.drain()] == [True]


@pytest.mark.parametrize("only", [True, False])
def test_names_of_a_process_that_has_ended(only: bool) -> None:
    """Its files are known since its events were read, or since it was attached to."""
    with Caller() as process:
        tracer = Tracer(pid=process.pid) if only else Tracer()
        seen, counts = tracer.events(Inside), tracer.hash(UserStack, u64)

        def probe() -> None:
            stack = user_stack()
            seen.emit(7, stack)
            counts[stack] += 1

        tracer.uprobe(LIBC, "getppid", pid=process.pid)(probe)
        with tracer:
            process.call(1)
            events = [] if only else seen.read()
            process.close()
            assert process.process.returncode == 0
            assert all(named(stack) for stack in counts)
            assert [named(event.stack) for event in events or seen.read()] == [True]


def test_keys_of_aggregates_print_their_frames(child: Caller) -> None:
    tracer = Tracer(pid=child.pid)
    sizes = tracer.histogram(key=UserStack)
    steps = tracer.linear(0, 10, 1, key=(u32, UserStack))
    calls, times = tracer.count(key=(u32, UserStack)), tracer.stats(key=UserStack)

    def probe() -> None:
        stack = user_stack()
        sizes[stack].add(3)
        steps[1, stack].add(3)
        calls[1, stack].add()
        times[stack].add(3)

    with traced(tracer, probe):
        child.call(2)
        assert [named(stack) for stack in (*sizes, *times)] == [True, True]
        assert [named(stack) for _, stack in (*steps, *calls)] == [True, True]
        frames = "".join(f"    {frame}\n" for frame in next(iter(times)).frames)
        assert frames.startswith("    getppid+0x0 (libc.so.6)\n")
        assert str(calls) == f"@calls[1, \n{frames}]: 2"
        assert str(sizes).startswith(f"@sizes[\n{frames}]:\n[2, 4) ")
