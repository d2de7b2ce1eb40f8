"""The one interface of ring buffer and perf buffer readers: events as a list, by callback, by iteration, by asyncio."""

from __future__ import annotations

import os
import select
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import chain, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, Union

from pybpf.errors import BpfError, ClosedError
from pybpf.maps.decode import NOTHING, Batch, Decoder, counted
from pybpf.maps.runs import Run
from pybpf.sys.bpf import MapType
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd
from pybpf.sys.objects import MapInfo, map_info, type_name

if TYPE_CHECKING:
    import asyncio

__all__ = ["CHUNK", "LIMIT", "EventReader", "MapLike", "Source", "Take", "open_map"]

T = TypeVar("T")

#: bytes that are copied out of a ring at once
CHUNK = 1 << 20
#: events that one call of :meth:`EventReader.read` returns at most, when not told otherwise
LIMIT = 1 << 13
#: seconds after which a waiting reader looks for events that nothing announced and for new CPUs
TICK = 1.0
#: seconds between two looks at a record that a program has reserved but not submitted
STALL = 0.001


class HasFd(Protocol):
    """A map object."""

    @property
    def fd(self) -> Fd: ...


#: Makes a batch of the records of runs in some bytes.
Take = Callable[[bytes, Sequence[Run]], Batch]
#: What a reader is made for: a map, or its descriptor.
MapLike = Union[HasFd, Fd]


def open_map(source: MapLike, kind: MapType, reader: str) -> tuple[Fd, MapInfo]:
    """A descriptor of our own of a map, and what the kernel knows of it. :raises BpfError: not of type ``kind``."""
    fd = source if isinstance(source, Fd) else source.fd
    info = map_info(fd)
    if info.type != kind:
        raise BpfError(
            f"cannot read events from map {info.name!r}: it is of type {type_name(info.type)}, "
            f"and {reader} needs {type_name(kind)}"
        )
    with explaining(f"read events from map {info.name!r}", "event_reader"):
        return fd.dup(), info


class Source(ABC):
    """One ring in memory, with the events that were taken from it and not yet delivered.

    Taking is a single assignment of ``taken``: wherever an exception (a signal, say) strikes, what was taken is
    delivered once, and what was not is still in the ring.

    :ivar taken: the last batch of events, the position in the ring behind it, samples reported as lost up to there.
    :ivar turns: how often :meth:`fill` takes :data:`CHUNK` bytes to have seen all that the ring can hold.
    :ivar stalled: the next record is being written at this moment.
    """

    taken: tuple[Batch, int, int]
    turns: int
    stalled = False
    _left: list[Batch] | None = None

    @abstractmethod
    def fill(self, decoder: Take) -> bool:
        """Take the next events and give their memory back to the kernel; False when there were none.

        Called when the iterator of :attr:`taken` is used up. :raises BpfError: the ring's memory is corrupt.
        """

    def unread(self) -> list[Batch]:
        """What was not delivered, of which the number can be had as long as the batches are kept: for the end."""
        if self._left is None:
            self._left = [self.taken[0]]
            with suppress(BpfError):  # the memory is corrupt: what is behind that cannot be known
                for _ in range(self.turns):
                    if not self.fill(counted):
                        break
                    self._left.append(self.taken[0])
        return self._left

    @abstractmethod
    def close(self) -> None:
        """Give the memory and descriptors back."""


class EventReader(ABC, Generic[T]):
    """Reads the events that programs send through a ring buffer or a perf buffer.

    Each event is delivered exactly once, by whichever of the ways is used next: :meth:`read`, :meth:`poll`,
    :meth:`drain`, ``for`` and ``async for``. When an exception leaves one of them (of a callback, of the function
    that makes events, ``KeyboardInterrupt``) the events behind it are delivered by the next call.

    A record whose size is not that of the type raises ``PackError`` in its turn; the next call goes on behind it.

    One thread at a time reads. :attr:`lost` and :meth:`close` are for any thread, and for signal handlers: on close
    a call that waits raises ``ClosedError``, a loop ends. Events that were not delivered by then are counted, as
    :attr:`unread` and so as :attr:`lost`. A program's last events are had by detaching it, reading until the list is
    empty, and closing.
    """

    def __init__(
        self, own_map: Fd, name: str, decoder: Decoder[T], lost_counter: Callable[[], int] | None = None
    ) -> None:
        """:param own_map: the map's descriptor, which the reader closes, also when this fails."""
        self._map = own_map
        self.name = name
        self._decoder = decoder
        self._lost_counter = lost_counter
        self._sources: list[Source] = []
        self._first = 0  # the source whose turn it is
        self._returned = NOTHING  # taken out of a source, but not delivered
        self._ended: list[Source] = []  # those whose events nobody will read
        self._lock = threading.RLock()  # rings and descriptors
        self._waiting = threading.RLock()  # held while waiting: close() lets the descriptors live until then
        self._wakers: list[Callable[[], object]] = []
        self._busy = False  # rings or descriptors are in use
        self._closed = False
        self._ringing = False
        with ExitStack() as made, explaining(f"read events from map {name!r}", "event_reader"):
            made.callback(own_map.close)
            self._epoll = made.enter_context(select.epoll())
            # Makes the epoll descriptor ready: when events are left that the kernel knows nothing of, and on close.
            ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._bell, self._hammer = (made.enter_context(Fd(end, "pipe of an event reader")) for end in ends)
            self._epoll.register(self._bell.fileno(), select.EPOLLIN)
            made.pop_all()

    # --- reading

    def read(self, limit: int = LIMIT) -> list[T]:
        """The events that are there now, oldest first for each ring, at most ``limit``; never waits.

        :raises ClosedError: the reader is closed.
        :raises PackError: the first event has the wrong size.
        :raises BpfError: the memory of the ring is corrupt.
        """
        events: list[T] = []
        try:
            with closing(self._batches(limit)) as batches:
                for batch in batches:
                    events.extend(islice(batch, limit - len(events)))
                    if len(events) >= limit:
                        break
            return events
        except Exception as error:
            if not events:
                raise
            errors = iter((error,))
            is_event = type(error) not in (BpfError, ClosedError)  # one that could not be made
            self._put_back(map(_raise, errors), errors if is_event else iter(()))
            return events
        except BaseException:
            again = iter(events)
            self._put_back(again, again)
            self._ring_bell(True)
            raise

    def poll(self, timeout: float | None = None, limit: int = LIMIT) -> list[T]:
        """Wait until there are events, and return at most ``limit`` of them; raises what :meth:`read` raises.

        :param timeout: seconds to wait at most, when the list may be empty; None: until there are events.
        """
        deadline = _deadline(timeout)
        while True:
            events = self.read(limit)
            if events or not self._wait(deadline):
                return events

    def drain(self, callback: Callable[[T], object], timeout: float | None = 0, limit: int = LIMIT) -> int:
        """Call ``callback`` with each event, at most ``limit``; returns how many there were.

        An exception of the callback leaves this method; the next call goes on with the event behind.

        :param timeout: seconds to wait for the first event; None: until there is one.
        """
        deadline = _deadline(timeout)
        count = 0
        while True:
            with closing(self._batches(limit)) as batches:
                # By map, for no signal is handled between taking an event and calling.
                for _ in map(callback, islice(chain.from_iterable(batches), limit)):
                    count += 1
                    if self._closed:
                        return count
            if count or not self._wait(deadline):
                return count

    def events(self, timeout: float | None = None) -> Iterator[T]:
        """Iterate over events as they come, until the reader is closed or ``timeout`` seconds are over."""
        deadline = _deadline(timeout)
        try:
            while True:
                with closing(self._batches()) as batches:
                    for event in chain.from_iterable(batches):
                        yield event
                        if self._closed:
                            return
                if not self._wait(deadline):
                    return
        except ClosedError:
            if not self._closed:
                raise

    def __iter__(self) -> Iterator[T]:
        return self.events()

    async def __aiter__(self) -> AsyncIterator[T]:
        import asyncio  # only here: it is slow to load

        loop = asyncio.get_running_loop()
        try:
            while True:
                # Watched before it is read: see fileno().
                with self._watched(loop) as ready, closing(self._batches()) as batches:
                    for batch in batches:
                        for event in batch:
                            yield event
                            if self._closed:
                                return
                        await asyncio.sleep(0)  # a flood leaves other tasks their turn
                    if self._stalled():
                        await asyncio.sleep(STALL)
                    else:
                        await asyncio.wait({ready}, timeout=TICK)
        except ClosedError:
            if not self._closed:
                raise

    def fileno(self) -> int:
        """A descriptor for ``poll``, ``epoll`` or an event loop: readable when :meth:`read` should be called.

        Register it first, then read, and then again each time when it is readable: the kernel announces what comes
        into a perf buffer once, and registering can use that up. What a program sends without waking the reader (see
        ``wakeup`` of the perf buffer, ``BPF_RB_NO_WAKEUP``) is not announced, nor are CPUs that come online: call
        :meth:`read` every second or so too.
        """
        self._check_open()
        return self._epoll.fileno()

    # --- state

    @property
    def lost(self) -> int | None:
        """How many events were sent and not delivered: what found no room, and after :meth:`close` what was unread.

        That is what the kernel counts, what ``lost_counter`` says, and :attr:`unread`. None where nobody counts what
        found no room: the kernel does so for perf buffers, a ring buffer needs a ``lost_counter``.
        """
        kernel, counter = self._kernel_lost(), self._lost_counter
        if kernel is None and counter is None:
            return None
        return (kernel or 0) + (0 if counter is None else counter()) + self.unread

    @property
    def unread(self) -> int:
        """How many events were there when the reader was closed, so that they were not delivered; 0 before.

        Programs that are still attached then go on sending: those events are in no count.
        """
        if not self._closed:
            return 0
        return self._returned.left + sum(batch.left for source in self._ended for batch in source.unread())

    @property
    def closed(self) -> bool:
        """True once :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Stop reading, count what was not delivered, and free the memory. A second call does nothing."""
        self._closed = True
        with suppress(ClosedError, BlockingIOError):
            os.write(self._hammer.fileno(), b"\0")
        for waker in self._wakers[:]:
            waker()
        with self._waiting, self._lock:
            if not self._busy:  # else a signal handler has interrupted what does this then
                self._free()

    def __enter__(self: R) -> R:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{', closed' if self._closed else ''}>"

    # --- for the two kinds of buffer

    @abstractmethod
    def _kernel_lost(self) -> int | None:
        """Events that the kernel itself counts as lost; None where it counts none of this kind."""

    def _silence(self) -> None:
        """Let programs send no more, where that can be had; called under the lock, perhaps twice."""

    def _release(self) -> None:
        """Close all sources; called under the lock, perhaps twice."""
        for source in self._sources:
            source.close()
        self._sources = []

    def _refresh(self) -> None:
        """Look for rings that came and went; called under the lock, before sources are read."""

    def _hung_up(self, fd: int) -> None:
        """A ring's descriptor says that nothing will come any more."""

    def _swept(self) -> None:
        """All events that were there have been delivered; called under the lock."""

    # --- inside

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"cannot read events from {self.name!r}: the reader, or its tracer, was closed")

    def _batches(self, limit: int = 1) -> Generator[Iterator[T], None, None]:
        """The undelivered events, batch after batch: each is used up before the next is asked for.

        Sees each ring for as long as it takes to read it once in full, so it ends even while events pour in. Where
        it is left before the end, the reader stays ready, and the next one starts with the following ring.
        """
        if limit < 1:
            raise BpfError(f"cannot read {limit} events: the limit must be positive")
        finished = False
        try:
            self._check_open()
            yield self._returned.events
            self._returned = NOTHING
            with self._lock:
                self._check_open()
                self._refresh()
                sources = self._sources[self._first :] + self._sources[: self._first]
            for source in sources:
                self._first = (self._first + 1) % len(sources)
                yield source.taken[0].events
                for _ in range(source.turns):
                    if not self._fill(source):
                        break
                    yield source.taken[0].events
            finished = True
        finally:
            self._ring_bell(not finished)

    def _fill(self, source: Source) -> bool:
        with self._lock:
            self._check_open()
            self._busy = True
            try:
                return source.fill(self._decoder)
            finally:
                self._busy = False  # here, not in a function: an interrupt could come before its first line
                self._free_if_closed()

    def _free_if_closed(self) -> None:
        if self._closed:
            with self._lock:
                self._free()

    def _put_back(self, events: Iterator[T], records: Iterator[Any]) -> None:
        """Deliver these before anything else."""
        before = self._returned
        self._returned = Batch(chain(events, before.events), (records, *before.records))

    def _free(self) -> None:
        self._busy = True
        try:
            self._silence()
            for source in self._sources:
                if source not in self._ended:
                    self._ended.append(source)
                source.unread()
        finally:
            self._busy = False
        self._release()
        self._map.close()
        self._epoll.close()
        self._bell.close()
        self._hammer.close()

    def _ring_bell(self, on: bool) -> None:
        """Keep :meth:`fileno` readable, or no longer so."""
        with self._lock:
            if self._closed:
                return
            if not on:
                self._swept()
            # An interrupt anywhere in here leaves a state that the next call sets right.
            with suppress(BlockingIOError):
                if on:
                    self._ringing = True
                    os.write(self._hammer.fileno(), b"\0")
                elif self._ringing:
                    os.read(self._bell.fileno(), 1 << 16)
            self._ringing = on

    def _wait(self, deadline: float | None) -> bool:
        """Wait for events, until ``deadline``, or for a tick; False when the deadline was over before."""
        seconds = TICK if deadline is None else min(TICK, deadline - time.monotonic())
        if seconds <= 0:
            return False
        if self._stalled():
            time.sleep(min(seconds, STALL))
            return True
        with self._waiting:
            self._check_open()
            self._busy = True
            try:
                ready = self._epoll.poll(seconds)
            finally:
                self._busy = False
                self._free_if_closed()
        for fd, events in ready:
            if events & (select.EPOLLHUP | select.EPOLLERR):
                self._hung_up(fd)
        return True

    def _stalled(self) -> bool:
        return any(source.stalled for source in self._sources)

    @contextmanager
    def _watched(self, loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.Future[None]]:
        """While entered: a future that is done when there may be new events, or the reader is closed."""
        ready = loop.create_future()

        def done() -> None:
            if not own.closed:
                loop.remove_reader(own.fileno())
            if not ready.done():
                ready.set_result(None)

        def closed() -> None:
            with suppress(RuntimeError):  # the loop is closed too
                loop.call_soon_threadsafe(done)

        # A descriptor of our own: the loop forgets it before its number can be used again, whoever calls close().
        with self._lock:
            self._check_open()
            own = Fd(os.dup(self._epoll.fileno()), "event poll")
            self._wakers.append(closed)
        try:
            loop.add_reader(own.fileno(), done)
            yield ready
        finally:
            self._wakers.remove(closed)
            loop.remove_reader(own.fileno())
            own.close()


R = TypeVar("R", bound="EventReader[Any]")


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _raise(error: BaseException) -> NoReturn:
    raise error
