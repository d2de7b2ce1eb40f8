"""Ring buffer and perf buffer readers on the running kernel: one interface, every event exactly once."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from pybpf.errors import BpfError, ClosedError, KernelError, PackError
from pybpf.maps import PerfEventArray, RingBuffer, events
from pybpf.maps.events import EventReader
from pybpf.maps.perfbuf import PerfBufferReader
from pybpf.maps.ringbuf import RingBufferReader
from pybpf.sys.bpf import MapType
from pybpf.sys.cpus import online_cpus
from pybpf.types import Struct, u32, u64
from tests.maps.emitter import Emitter, Event, Sent, create_map
from tests.maps.readers import LONG, PAGE, READERS, counted, numbers

pytestmark = [pytest.mark.root, pytest.mark.generic]


class Short(Struct):
    """Not what the emitters send."""

    number: u64
    cpu: u32


@pytest.fixture(params=["output", "perf"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Emitter, EventReader[Event]]]:
    """A program that sends, and the reader of its ring."""
    how = request.param
    with Emitter(how) as emitter, READERS[how](emitter, Event, **counted(how, emitter)) as reader:
        yield emitter, reader


@pytest.mark.parametrize("how", READERS)
def test_events_are_typed(how: str) -> None:
    with Emitter(how) as emitter, READERS[how](emitter, Event) as reader:
        emitter.send(5, cpu=0)
        assert reader.poll(LONG) == [Event(number=i, cpu=0, size=64, filling=b"\xa5" * 48) for i in range(5)]
        assert reader.read() == []
        assert reader.poll(0) == reader.poll(0.01) == []
        assert reader.lost == (0 if how == "perf" else None)


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("cpus", ["each", "all"])
def test_nothing_is_lost_silently(how: str, cpus: str) -> None:
    """A tiny ring and a slow reader: what was sent = what was delivered + what ``lost`` counts, all in order."""
    with Emitter(how, PAGE) as emitter:
        options: dict[str, Any] = {"size": 1} if how == "perf" else {"lost_counter": emitter.refused}
        with READERS[how](emitter, Event, **options) as reader:
            got: list[Event] = []
            for turn in range(24):
                for cpu in online_cpus() if cpus == "all" else [online_cpus()[turn % len(online_cpus())]]:
                    emitter.send(7 + 23 * turn, cpu)
                got += reader.read()
            # Before Linux 6.0 a perf buffer tells what it dropped in front of the next event.
            for cpu in online_cpus():
                emitter.send(1, cpu)
            got += reader.read()
            assert reader.lost > 100
            assert len(got) + reader.lost == emitter.number
            assert reader.lost == emitter.refused()
        for cpu in online_cpus():
            own = [event.number for event in got if event.cpu == cpu]
            assert own
            assert own == sorted(set(own))
        if how != "perf":
            assert numbers(got) == sorted(numbers(got))


@pytest.mark.parametrize("how", ["output", "perf"])
@pytest.mark.parametrize("kind", [Sent.parse, None])
def test_sizes_that_differ_and_wrap_around(how: str, kind: Callable[[bytes], Sent] | None) -> None:
    with Emitter(how, PAGE, size=17, mask=63) as emitter:
        options: dict[str, Any] = {"size": 1} if how == "perf" else {"lost_counter": emitter.refused}
        with READERS[how](emitter, kind, **options) as reader:
            for turn in range(60):
                sent = emitter.send(1 + turn * 7 % 29, cpu=0)
                got = [event if isinstance(event, Sent) else Sent.parse(event) for event in reader.read()]
                assert got == [Sent(number, 0, 17 + (number * 13 & 63)) for number in sent]
            assert reader.lost == emitter.refused() == 0


def test_wrap_around_with_odd_sizes_of_one_kind() -> None:
    for size in (17, 24, 33, 71):
        with Emitter("output", PAGE, size=size) as emitter, RingBufferReader(emitter, Sent.parse) as reader:
            for _ in range(40):
                sent = emitter.send(29)
                assert [event.number for event in reader.read()] == list(sent)


@pytest.mark.parametrize("bits", [1, 2, 64, 65])
def test_discarded_records_are_left_out(bits: int) -> None:
    with Emitter("reserve", discard=bits) as emitter, RingBufferReader(emitter, Event) as reader:
        for _ in range(10):
            sent = emitter.send(300)
            assert numbers(reader.read()) == [number for number in sent if not number & bits]


def test_limit_bounds_a_call(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    emitter.send(100, cpu=0)
    assert numbers(reader.read(1)) == [0]
    assert numbers(reader.poll(LONG, 9)) == list(range(1, 10))
    rest: list[Event] = []
    assert reader.drain(rest.append, limit=40) == 40
    assert reader.drain(rest.append) == 50
    assert numbers(rest) == list(range(10, 100))
    with pytest.raises(BpfError, match="limit must be positive"):
        reader.read(0)


def test_every_cpu_has_its_turn() -> None:
    if len(online_cpus()) < 2:
        pytest.skip("needs two CPUs")
    with Emitter("perf") as emitter, PerfBufferReader(emitter, Event) as reader:
        for cpu in online_cpus():
            emitter.send(50, cpu)
        first, second = reader.read(10), reader.read(10)
        assert {event.cpu for event in first} != {event.cpu for event in second}


def test_exception_of_a_callback_loses_no_other_event(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    seen: list[int] = []

    def callback(event: Event) -> None:
        seen.append(event.number)
        if event.number % 10 == 3:
            raise RuntimeError("callback")

    emitter.send(100, cpu=0)
    raised = 0
    while True:
        try:
            if not reader.drain(callback):
                break
        except RuntimeError:
            raised += 1
            assert select.select([reader], [], [], 0)[0], "the reader must stay ready: events are left"
    assert raised == 10
    assert seen == list(range(100))
    assert not select.select([reader], [], [], 0)[0]


def test_exception_of_the_function_comes_in_its_turn() -> None:
    def kind(data: bytes) -> int:
        number = Sent.parse(data).number
        return 1 // (number % 4) and number

    with Emitter("output") as emitter, RingBufferReader(emitter, kind, lost_counter=emitter.refused) as reader:
        emitter.send(10)
        with pytest.raises(ZeroDivisionError):
            reader.read()
        got: list[Any] = []
        for _ in range(5):
            try:
                got.append(reader.read())
            except ZeroDivisionError:
                got.append(None)
        assert got == [[1, 0, 0], None, [5, 0, 0], None, [9]]


def test_wrong_type_raises_for_each_event(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, _ = pair
    how = "perf" if isinstance(pair[1], PerfBufferReader) else "output"
    pair[1].close()
    with READERS[how](emitter, Short) as reader:
        emitter.send(3, cpu=0)
        for _ in range(3):
            with pytest.raises(PackError, match="struct Short, which has 16 bytes: the program sent"):
                reader.poll(LONG)
        assert reader.read() == []


# an exception between open() and its "with" leaves the file to the collector, which closes it, and warns
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_lose_and_repeat_nothing(pair: tuple[Emitter, EventReader[Event]]) -> None:
    """A signal handler raises all the time; ``drain`` hands over each event exactly once all the same."""
    emitter, reader = pair
    got: list[Event] = []
    interrupts = 0
    armed = False

    def handler(*_: object) -> None:
        nonlocal armed, interrupts
        if armed:
            armed = False
            interrupts += 1
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # an exception of the handler would vanish in a finalizer
    try:
        for _ in range(30):
            emitter.send(500, cpu=0)
            signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.0001)
            while True:
                try:
                    armed = True
                    done = reader.drain(got.append) == 0
                    armed = False
                    if done:
                        break
                except KeyboardInterrupt:
                    continue
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert numbers(got) == list(range(emitter.number))
    assert interrupts > 0


def test_iteration_takes_what_comes_until_time_is_over(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    emitter.send(10, cpu=0)
    assert numbers(list(reader.events(timeout=0))) == list(range(10))
    start = time.monotonic()
    assert list(reader.events(timeout=0.05)) == []
    assert time.monotonic() - start >= 0.05
    emitter.send(10, cpu=0)
    for event in reader:  # left early
        if event.number == 13:
            break
    assert numbers(reader.read()) == list(range(14, 20))


def test_close_ends_a_loop_and_a_wait(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    emitter.send(20, cpu=0)
    seen: list[int] = []
    started = threading.Event()

    def loop() -> None:
        for event in reader:
            seen.append(event.number)
            if len(seen) == 20:
                started.set()

    thread = threading.Thread(target=loop)
    thread.start()
    assert started.wait(LONG)
    reader.close()
    thread.join(LONG)
    assert not thread.is_alive()
    assert seen == list(range(20))
    assert reader.closed
    for use in (reader.read, reader.poll, reader.fileno, lambda: reader.drain(print)):
        with pytest.raises(ClosedError, match="closed"):
            use()
    assert list(reader) == []
    assert reader.lost == 0
    reader.close()


def test_close_from_another_thread_wakes_poll(
    pair: tuple[Emitter, EventReader[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TICK", LONG)
    _, reader = pair
    timer = threading.Timer(0.05, reader.close)
    timer.start()
    start = time.monotonic()
    with pytest.raises(ClosedError):
        reader.poll()
    assert time.monotonic() - start < LONG
    timer.join()


def test_close_in_a_callback_ends_it(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    emitter.send(10, cpu=0)
    assert reader.drain(lambda event: reader.close()) == 1
    with READERS["perf" if isinstance(reader, PerfBufferReader) else "output"](emitter, Event) as again:
        emitter.send(10, cpu=0)
        assert len([again.close() for _ in again]) == 1


def test_close_in_a_signal_handler(pair: tuple[Emitter, EventReader[Event]]) -> None:
    _, reader = pair
    before = signal.signal(signal.SIGALRM, lambda *_: reader.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert list(reader) == []
    finally:
        signal.signal(signal.SIGALRM, before)


def test_waiting_reader_is_woken(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    timer = threading.Timer(0.05, emitter.send, (1, 0))
    timer.start()
    assert numbers(reader.poll(LONG)) == [0]
    timer.join()


def test_descriptor_works_with_epoll(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    with select.epoll() as epoll:
        epoll.register(reader.fileno(), select.EPOLLIN)
        assert epoll.poll(0) == []
        for turn in range(3):
            emitter.send(5, cpu=turn % len(online_cpus()))
            assert epoll.poll(LONG) == [(reader.fileno(), select.EPOLLIN)]
            assert len(reader.read(3)) == 3
            assert epoll.poll(0), "two events are left"
            assert len(reader.read()) == 2
            reader.read()
            assert epoll.poll(0) == []


def test_asyncio(pair: tuple[Emitter, EventReader[Event]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "TICK", LONG)  # woken, or too late
    emitter, reader = pair

    async def main() -> list[int]:
        seen: list[int] = []

        async def listen() -> None:
            async for event in reader:
                seen.append(event.number)

        task = asyncio.create_task(listen())
        for _ in range(3):
            target = emitter.send(10, cpu=0).stop
            while len(seen) < target:
                await asyncio.sleep(0.001)
        threading.Timer(0.02, reader.close).start()
        await asyncio.wait_for(task, LONG / 2)
        return seen

    assert asyncio.run(main()) == list(range(30))


def test_asyncio_can_be_left_and_cancelled(pair: tuple[Emitter, EventReader[Event]]) -> None:
    emitter, reader = pair
    emitter.send(10, cpu=0)

    async def main() -> None:
        async for event in reader:
            if event.number == 4:
                break
        assert numbers(reader.read()) == list(range(5, 10))

        async def listen() -> None:
            async for event in reader:
                raise AssertionError(event)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(listen(), 0.02)

    asyncio.run(main())
    emitter.send(1, cpu=0)
    assert numbers(reader.poll(LONG)) == [10]


def test_flood_from_another_thread(pair: tuple[Emitter, EventReader[Event]]) -> None:
    """Sent while it is read: each number once and in order, or counted."""
    emitter, reader = pair
    done = threading.Event()

    def flood() -> None:
        for _ in range(20):
            emitter.send(1000, cpu=online_cpus()[-1])
        done.set()

    thread = threading.Thread(target=flood)
    thread.start()
    got: list[int] = []
    while not done.is_set():
        got += numbers(reader.poll(0.1))
    thread.join()
    got += numbers(reader.read())
    if isinstance(reader, PerfBufferReader):
        emitter.send(1, cpu=online_cpus()[-1])
        got += numbers(reader.read())
    assert got == sorted(set(got))
    assert len(got) + emitter.refused() == emitter.number
    if isinstance(reader, PerfBufferReader):
        assert reader.lost == emitter.refused()


@pytest.mark.parametrize("how", ["output", "perf"])
def test_map_may_be_closed_first(how: str) -> None:
    with Emitter(how) as emitter:
        reader = READERS[how](emitter.fd)
        emitter.send(2)
        emitter.fd.close()
        assert len(reader.read()) == 2
        reader.close()


def test_map_objects_are_taken() -> None:
    with RingBuffer(PAGE, name="ring") as ring, RingBufferReader(ring) as reader:
        assert repr(reader) == "<RingBufferReader 'ring'>"
        assert reader.read() == []
    with PerfEventArray(name="events") as array, PerfBufferReader(array, Event) as perf_reader:
        assert repr(perf_reader) == "<PerfBufferReader 'events'>"
        assert perf_reader.read() == []


def test_constructor_that_fails_leaves_nothing() -> None:
    """Every system call in turn answers EMFILE; the descriptors are checked after the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Emitter("perf") as perf, Emitter("output") as ring:
        used = len(os.listdir("/proc/self/fd"))
        for reader, emitter in ((PerfBufferReader, perf), (RingBufferReader, ring)):
            failed = 0
            for room in range(16):
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, hard))
                    reader(emitter).close()
                    break
                except KernelError as error:
                    assert error.errno == errno.EMFILE
                    failed += 1
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert 3 < failed < 15


def test_wrong_map_is_refused() -> None:
    with create_map(MapType.ARRAY, 1, 4, 8) as array:
        with pytest.raises(BpfError, match="'rings_test': it is of type array, and RingBufferReader needs ringbuf"):
            RingBufferReader(array)
        with pytest.raises(BpfError, match="is of type array, and PerfBufferReader needs perf_event_array"):
            PerfBufferReader(array)


def test_what_nobody_counts_is_not_known() -> None:
    """5,000 events into a ring that has room for some hundreds."""
    with Emitter("output", PAGE) as emitter, RingBufferReader(emitter, Event) as reader:
        emitter.send(5000, cpu=0)
        got = reader.read()
        assert 0 < len(got) < 5000 and reader.lost is None
        reader.close()
        assert reader.lost is None and reader.unread == 0


@pytest.mark.parametrize("read", [0, 1, 7, 200])
def test_what_is_unread_on_close_is_counted(pair: tuple[Emitter, EventReader[Event]], read: int) -> None:
    """Some taken out of the ring, some still in it; whether it is left by ``read``, a loop or a callback."""
    emitter, reader = pair
    emitter.send(100, cpu=0)
    got = reader.read(read) if read else []
    emitter.send(100, cpu=1)
    assert reader.lost == reader.unread == 0
    reader.close()
    assert reader.unread == reader.lost == 200 - len(got)
    reader.close()
    assert reader.unread == 200 - len(got)


def _by_loop(reader: EventReader[Event], got: list[Event]) -> None:
    for event in reader:
        got.append(event)
        if len(got) == 5:
            break


def _by_callback(reader: EventReader[Event], got: list[Event]) -> None:
    def take(event: Event) -> None:
        got.append(event)
        if len(got) == 5:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        reader.drain(take)


def _by_async_loop(reader: EventReader[Event], got: list[Event]) -> None:
    async def take() -> None:
        async for event in reader:
            got.append(event)
            if len(got) == 5:
                break

    asyncio.run(take())


def _by_closing(reader: EventReader[Event], got: list[Event]) -> None:
    for event in reader:
        got.append(event)
        if len(got) == 5:
            reader.close()


@pytest.mark.parametrize("way", [_by_loop, _by_callback, _by_async_loop, _by_closing])
def test_what_is_unread_is_counted_however_it_was_read(
    pair: tuple[Emitter, EventReader[Event]], way: Callable[[EventReader[Event], list[Event]], None]
) -> None:
    emitter, reader = pair
    emitter.send(300, cpu=0)
    got: list[Event] = []
    way(reader, got)
    reader.close()
    assert len(got) == 5 and reader.unread == reader.lost == 295


@pytest.mark.parametrize("how", ["output", "perf"])
def test_unread_events_are_not_made(how: str) -> None:
    """Whoever makes events of bytes is not asked for those that nobody wants; mixed sizes, discards left out."""
    made: list[int] = []

    def make(data: bytes) -> int:
        made.append(len(data))
        return len(data)

    with Emitter(how, size=17, mask=63) as emitter, READERS[how](emitter, make) as reader:
        emitter.send(200, cpu=0)
        reader.read(3)
        reader.close()
        assert len(made) == 3 and reader.unread == 197


def test_unread_leaves_out_what_was_discarded() -> None:
    with Emitter("reserve", discard=2) as emitter, RingBufferReader(emitter, Event) as reader:
        sent = emitter.send(300)
        reader.close()
        assert reader.unread == sum(not number & 2 for number in sent)


def test_what_a_call_gave_back_is_unread_too(pair: tuple[Emitter, EventReader[Event]]) -> None:
    """An event that cannot be made is raised in its turn; before that, it counts as one that was not delivered."""
    emitter, _ = pair
    emitter.send(10, cpu=0)
    count = 0

    def make(data: bytes) -> int:
        nonlocal count
        count += 1
        if count == 4:
            raise ValueError(count)
        return count

    kind = type(pair[1])
    with kind(emitter, make) as reader:  # type: ignore[call-arg]
        emitter.send(10, cpu=0)
        before = len(reader.read())
        reader.close()
        assert count == 4
        assert before == 3 and reader.unread >= 10 - 3


@pytest.mark.parametrize("slow", [0.0, 0.002])
def test_sent_is_delivered_or_lost_when_another_thread_closes(
    pair: tuple[Emitter, EventReader[Event]], slow: float
) -> None:
    emitter, reader = pair
    sent = emitter.send(3000, cpu=0)
    refused = emitter.refused()
    got: list[Event] = []

    def take(event: Event) -> None:
        got.append(event)
        if slow:
            time.sleep(slow)

    closer = threading.Timer(0.01, reader.close)
    closer.start()
    with pytest.raises(ClosedError):
        while True:
            reader.drain(take, timeout=None)
    closer.join()
    kernel = reader.lost - reader.unread
    assert kernel in (0, refused)
    assert len(got) + reader.unread + refused == len(sent)
