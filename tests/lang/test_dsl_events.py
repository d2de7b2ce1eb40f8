"""Events of probes: what is emitted is delivered, typed and in order, or counted as lost."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest

from pybpf.compiler import compile_unit
from pybpf.compiler.target import Target
from pybpf.errors import BpfError, CompileError
from pybpf.lang.state.aggregates import Tally
from pybpf.lang.state.maps import Array, Hash
from pybpf.lang.state.output import Events
from pybpf.prog import Program
from pybpf.sys.bpf import MapType
from pybpf.types import Struct, char, s32, u8, u32, u64
from tests.lang import harness
from tests.lang.sharing import Shared

shared = Shared()


class Point(Struct):
    x: u8
    y: u32


class Open(Struct):
    pid: u32
    ret: s32
    comm: char[16]
    where: Point
    time: u64
    path: char[256]
    last: u8


opens: Events[Open] = Events(Open, shared.counts, name="opens")
few: Events[Open] = Events(Open, shared.counts, pages=1, name="few")
points = Hash(u32, Point, 10, shared.counts, "points")
cells = Array(u64, 4, shared.counts, "cells")
hits = Tally("count", shared.counts, name="hits")


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_fields_arrive() -> None:
    def probe(number: u32) -> None:
        here = Point(1, number)
        opens.emit(pid=number, ret=-number, comm="cat", where=here, time=1 << 40, path="/etc/passwd", last=9)
        opens.emit(Open(number, 2))
        opens.emit(number, 3, "dog")
        kept = Open(pid=1, path="a")
        kept.path = "longer than before"
        kept.where.y = number
        opens.emit(kept)
        opens.emit(kept.pid, where=kept.where)
        opens.emit()

    with shared.load(probe, opens) as run:
        run(5)
        assert opens.read() == [
            Open(5, -5, "cat", Point(1, 5), 1 << 40, "/etc/passwd", 9),
            Open(pid=5, ret=2),
            Open(5, 3, "dog"),
            Open(pid=1, path="longer than before", where=Point(0, 5)),
            Open(pid=1, where=Point(0, 5)),
            Open(),
        ]
        assert opens.lost == 0


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_emitted_is_delivered_or_lost() -> None:
    def probe(number: u32) -> None:
        few.emit(pid=number)

    with shared.load(probe, few) as run:
        for number in range(40):
            run(number)
        delivered = few.read()
        assert [each.pid for each in delivered] == list(range(len(delivered)))
        assert 0 < len(delivered) < 40
        assert len(delivered) + few.lost == 40
        run(99)
        assert [each.pid for each in few.read()] == [99]


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_emitted_by_many_threads() -> None:
    def probe(number: u32) -> None:
        opens.emit(pid=number, path="x")

    with shared.load(probe, opens) as run:
        workers = [threading.Thread(target=lambda: [run(number) for number in range(300)]) for _ in range(3)]
        got: list[int] = []
        for each in workers:
            each.start()
        while any(each.is_alive() for each in workers):
            got += [each.pid for each in opens.poll(0.01)]
        for each in workers:
            each.join()
        got += [each.pid for each in opens.read()]
        assert len(got) + opens.lost == 900
        if not opens.lost:
            assert sorted(got) == sorted(3 * list(range(300)))


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_ways_to_read() -> None:
    def probe(number: u32) -> None:
        opens.emit(pid=number)

    async def first() -> int:
        async for each in opens:
            return each.pid
        return -1

    with shared.load(probe, opens) as run:
        run(1)
        assert next(iter(opens)).pid == 1
        run(2)
        got: list[Open] = []
        assert opens.drain(got.append) == 1
        assert got == [Open(pid=2)]
        run(3)
        assert asyncio.run(first()) == 3
        assert opens.fileno() >= 0


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_struct_of_a_map_is_emitted() -> None:
    def probe(key: u32) -> None:
        found = points.get(key)
        if found is not None:
            opens.emit(where=found, pid=found.y)

    with shared.load(probe, opens, points) as run:
        points[4] = Point(1, 2)
        run(3)
        run(4)
        assert opens.read() == [Open(pid=2, where=Point(1, 2))]


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_events_that_are_filled_in_steps() -> None:
    def probe(number: u32) -> u64:
        event = few.reserve()
        if event is None:
            return 1
        event.pid = number
        event.comm = "abc"
        event.where.y = 7
        if number == 3:
            few.discard(event)
            return 2
        if event.comm == "abc":
            event.ret = 5
        few.submit(event)
        return 3

    with shared.load(probe, few) as run:
        assert [run(2), run(3)] == [3, 2]
        assert few.read() == [Open(pid=2, ret=5, comm="abc", where=Point(0, 7))]
        assert sum(run(4) == 1 for _ in range(40)) == few.lost > 0

    unit = harness.compiled(probe, Target.described("5.4"))
    assert unit.maps["few"].type is MapType.PERF_EVENT_ARRAY


def fill(event, number):  # type: ignore[no-untyped-def]
    event.where = Point(1, number)
    return number


def with_block(number: u32) -> u64:
    for index in range(number & 7):
        with opens.reserve() as event, few.reserve() as other:
            event.pid = other.pid = index
            if index == 1:
                continue
            event.comm = other.path = "abc"
            event.time = fill(event, number)
            if index == 3:
                break
            if index == 2 and number == 11:
                return 5
    with opens.reserve() as event:
        event.ret = -1
        with few.reserve() as other:
            if number == 12:
                return event.pid + 7
        event.pid = 9
    return 1


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_with_submits_at_its_end_and_discards_where_it_is_left() -> None:
    def sent(index: int, number: int) -> Open:
        return Open(pid=index, comm="abc", where=Point(1, number), time=number)

    last = Open(pid=9, ret=-1)
    with shared.load(with_block, opens, few) as run:
        assert run(8 + 7) == 1
        assert opens.read() == [sent(0, 15), sent(2, 15), last]
        assert few.read() == [Open(pid=0, path="abc"), Open(pid=2, path="abc"), Open()]
        assert run(11) == 5
        assert (opens.read(), few.read()) == ([sent(0, 11)], [Open(pid=0, path="abc")])
        assert run(12) == 7
        assert [event.pid for event in opens.read()] == [0, 2]
        few.read()
        assert opens.lost == few.lost == 0
        for _ in range(40):  # what is full skips the inner block only
            run(8)
        assert few.lost > 0 and opens.read() == [last] * 40
        assert len(few.read()) + few.lost == 40


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_with_that_lacks_room_for_one_event_submits_none() -> None:
    def probe(number: u32) -> None:
        with opens.reserve() as event, few.reserve() as other:
            event.pid = other.pid = number

    with shared.load(probe, opens, few) as run:
        for number in range(1, 41):
            run(number)
        sent = [event.pid for event in few.read()]
        assert [event.pid for event in opens.read()] == sent == list(range(1, len(sent) + 1))
        assert opens.lost == few.lost == 40 - len(sent) > 0


def test_no_return_while_a_record_is_reserved() -> None:
    def in_with(number: u32) -> None:
        with opens.reserve() as event:
            event.pid = number + cells[2]
            hits.add()

    def by_hand(number: u32) -> None:
        event = opens.reserve()
        if event is not None:
            cells[1] = number
            hits.add()
            opens.submit(event)

    for probe in (in_with, by_hand):
        blocks = harness.compiled(probe).functions[0].blocks
        assert [block.end.op for block in blocks].count("ret") == 1  # that of its end


@pytest.mark.root
@pytest.mark.needs("ringbuf")
def test_counts_while_a_record_is_reserved() -> None:
    def probe(number: u32) -> None:
        with opens.reserve() as event:
            hits.add()
            cells[2] += 5
            event.pid = cells[2] + number

    with shared.load(probe, opens, hits, cells) as run:
        run(1)
        assert opens.read() == [Open(pid=6)]
        assert hits.value == 1


def test_with_compiles_for_kernels_without_ring_buffers() -> None:
    assert harness.compiled(with_block, Target.described("5.4")).maps["few"].type is MapType.PERF_EVENT_ARRAY


def test_wrong_uses_of_with() -> None:
    def twice() -> None:
        with opens.reserve() as event:
            opens.submit(event)

    def after() -> None:
        with opens.reserve() as event:
            event.pid = 1
        event.pid = 2

    def nameless() -> None:
        with opens.reserve():
            pass

    for function, message in (
        (twice, "this event is submitted at the end of its 'with', and discarded by 'return' in it: submit() is for "
         "events without 'with'"),
        (after, "'event' was submitted at the end of its 'with'"),
        (nameless, "'with' is for events only: 'with events.reserve() as event:' submits at its end"),
    ):  # fmt: skip
        with pytest.raises(CompileError) as caught:
            harness.compiled(function)
        assert caught.value.message == message


def test_perf_buffer_where_there_is_no_ring_buffer() -> None:
    def probe(number: u32) -> None:
        opens.emit(pid=number)

    unit = harness.compiled(probe, Target.described("5.4"))
    assert unit.maps["opens"].type is MapType.PERF_EVENT_ARRAY
    unit = harness.compiled(probe, Target.described("5.10"))
    assert unit.maps["opens"].type is MapType.RINGBUF
    assert unit.maps["opens"].max_entries == 64 * 4096


@pytest.mark.root
def test_perf_buffer_delivers() -> None:
    def probe(number: u32) -> None:
        opens.emit(pid=number, path="/etc", comm="cat")
        event = opens.reserve()
        if event is not None:
            event.pid = number + 1
            opens.submit(event)

    host = Target.host()
    target = replace(host, has=lambda name: name != "ringbuf" and host.has(name))
    done = compile_unit(harness.compiled(probe, target), target)
    with ExitStack() as stack:
        maps = {name: stack.enter_context(spec.create()) for name, spec in done.maps.items()}
        program = stack.enter_context(Program.load(done.spec, maps))
        shared.counts.bind(maps["tracer_counts"])
        stack.callback(shared.counts.close)
        opens.bind(maps["opens"])
        stack.callback(opens.close)
        for number in range(5):
            program.test_run(ctx=number.to_bytes(8, "little") + bytes(88))
        # the runs may have been on several CPUs, between which there is no order
        got = sorted(opens.read(), key=lambda event: (event.pid, event.path))
        whole = [Open(pid=number, path="/etc", comm="cat") for number in range(5)]
        assert got == sorted([*whole, *(Open(pid=number + 1) for number in range(5))], key=lambda e: (e.pid, e.path))
        assert opens.lost == 0


def test_outside_of_a_probe() -> None:
    with pytest.raises(BpfError, match=r"emit\(\) works only in a probe"):
        opens.emit(pid=1)
    with pytest.raises(BpfError, match="the events 'opens' cannot be read yet: use them inside 'with tracer:'"):
        Events(Open, shared.counts, name="opens").read()
    with pytest.raises(TypeError, match="events are of a Struct class, not"):
        Events(int, shared.counts)
    with pytest.raises(ValueError, match="has 1 to"):
        Events(Open, shared.counts, pages=0)
