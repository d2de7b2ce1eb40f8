"""Streams of events from probes to Python: a ring buffer, or a perf buffer where the kernel has no ring buffer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pybpf.errors import BpfError, DeclarationError, PackError
from pybpf.lang.state.counts import Counts
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType
from pybpf.types import Struct, u32

if TYPE_CHECKING:
    from pybpf.compiler.target import Target
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val
    from pybpf.maps import EventReader, Map

__all__ = ["PAGES", "Events"]

T = TypeVar("T")

#: pages of a ring buffer that is made without a number: 256 KiB of 4 KiB pages
PAGES = 64
_PAGE = 4096
_ALL = 1 << 62


class _Buffer:
    """One way to send: the map that an event stream has on one kind of kernel."""

    def __init__(self, spec: MapSpec) -> None:
        self.spec = spec


class Events(Generic[T]):
    """A stream of events, all of one Struct::

        opens = tracer.events(Open)

        @tracer.tracepoint("syscalls:sys_exit_openat")
        def on_exit(args):
            opens.emit(pid=pid(), ret=args.ret)          # or opens.emit(Open(pid=pid(), ret=args.ret))

        with tracer:
            for event in opens:
                print(event.pid, event.ret)

    What is emitted = what is delivered + :attr:`lost`. In Python it is an event reader, see
    :class:`pybpf.maps.EventReader` for each method.

    :param kind: the Struct.
    :param pages: 4 KiB pages of the buffer, rounded up to a power of two; of a perf buffer, which has as much for
        each CPU, all CPUs together have that at least.
    :ivar counter: how many events a probe could not send.
    :ivar through: how ``for`` reads, when the tracer has other things to deliver meanwhile.
    :ivar through_async: how ``async for`` does.
    """

    def __init__(self, kind: type[T], counts: Counts, pages: int = PAGES, name: str = "") -> None:
        if not (isinstance(kind, type) and issubclass(kind, Struct)):
            raise DeclarationError(f"events are of a Struct class, not {kind!r}: class Event(Struct): pid: u32")
        if not isinstance(pages, int) or not 1 <= pages <= 1 << 18:
            raise PackError(f"an event buffer has 1 to {1 << 18} pages of 4 KiB, not {pages!r:.60}")
        self.kind = kind
        self.counter = counts.counter()
        self.name = name
        self._pages = 1 << (pages - 1).bit_length()
        self._buffers: dict[MapType, _Buffer] = {}
        self._reader: EventReader[T] | None = None
        self.through: Callable[[EventReader[T]], Iterator[T]] | None = None
        self.through_async: Callable[[EventReader[T]], AsyncIterator[T]] | None = None

    def buffer(self, target: Target | None) -> _Buffer:
        """What the events go through on a kernel: an object whose ``spec`` is the map.

        :param target: None: the kernel that was asked about before.
        """
        if target is None:
            return next(iter(self._buffers.values()))
        kind = MapType.RINGBUF if target.has("ringbuf") else MapType.PERF_EVENT_ARRAY
        made = self._buffers.get(kind)
        if made is None or made.spec.name != self.name:
            size = self._pages * _PAGE
            spec = MapSpec(kind, max_entries=size, name=self.name) if kind is MapType.RINGBUF else MapSpec(
                kind, u32, u32, 0, self.name
            )
            made = self._buffers[kind] = _Buffer(spec)
        return made

    def bind(self, loaded: Map, kind: Any = None) -> None:
        """The map has been created; the tracer calls this.

        :param kind: what the reader makes of records, if not :attr:`kind` itself.
        """
        kind = kind or self.kind
        if loaded.spec.type is MapType.RINGBUF:
            from pybpf.maps import RingBufferReader

            self._reader = RingBufferReader(loaded, kind, lost_counter=lambda: self.counter.value)
        else:
            from pybpf.maps import PerfBufferReader

            size = max(self._pages * _PAGE // max(loaded.max_entries, 1), 2 * _PAGE)
            self._reader = PerfBufferReader(
                loaded, kind, size=size, lost_counter=lambda: self.counter.value
            )

    @property
    def reader(self) -> EventReader[T]:
        """The reader. :raises BpfError: the tracer is not loaded."""
        if self._reader is None:
            what = f"the events {self.name!r}" if self.name else "these events"
            raise BpfError(f"{what} cannot be read yet: use them inside 'with tracer:'")
        return self._reader

    def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.close()

    @property
    def lost(self) -> int:
        """How many events were emitted and never delivered: for want of room or, when the tracer is closed, unread."""
        return self.counter.value if self._reader is None else self._reader.lost or 0  # counted: it has a counter

    @property
    def unread(self) -> int:
        """How many of the lost ones were there, and not read, when the tracer was closed."""
        return 0 if self._reader is None else self._reader.unread

    def read(self) -> list[T]:
        """The events that are there now; never waits."""
        return self.reader.read(_ALL)

    def poll(self, timeout: float | None = None) -> list[T]:
        """Wait until there are events, at most ``timeout`` seconds, and return them."""
        return self.reader.poll(timeout, _ALL)

    def drain(self, callback: Callable[[T], object], timeout: float | None = 0) -> int:
        """Call ``callback`` with each event that is there; returns how many there were."""
        return self.reader.drain(callback, timeout, _ALL)

    def fileno(self) -> int:
        """A descriptor for ``poll`` or an event loop: readable when :meth:`read` should be called."""
        return self.reader.fileno()

    def __iter__(self) -> Iterator[T]:
        return iter(self.reader) if self.through is None else self.through(self.reader)

    def __aiter__(self) -> AsyncIterator[T]:
        return self.reader.__aiter__() if self.through_async is None else self.through_async(self.reader)

    def emit(self, *values: Any, **fields: Any) -> None:
        """In a probe: send an event, given as a Struct or by its fields; those that are left out are zero.

        :raises BpfError: outside of one.
        """
        raise BpfError("emit() works only in a probe, a function that a tracer's decorator compiles")

    def reserve(self) -> Any:
        """In a probe: memory of a new event, all zero, for events that are filled in steps.

        ``with opens.reserve() as event:`` submits it at the end of the block; ``return``, ``break`` and ``continue``
        out of the block discard it; where there is no room, which is counted, the block is skipped.

        Without ``with`` it is None where there is no room, and otherwise given to :meth:`submit` or :meth:`discard` on
        every way from here.

        :raises BpfError: outside of one.
        """
        raise BpfError("reserve() works only in a probe, a function that a tracer's decorator compiles")

    def submit(self, event: T) -> None:
        """In a probe: send an event that was reserved. :raises BpfError: outside of one."""
        raise BpfError("submit() works only in a probe, a function that a tracer's decorator compiles")

    def discard(self, event: T) -> None:
        """In a probe: give an event that was reserved back. :raises BpfError: outside of one."""
        raise BpfError("discard() works only in a probe, a function that a tracer's decorator compiles")

    def __probe_value__(self, gen: Gen) -> Val:
        from pybpf.lang.state.emitting import EventsVal  # not needed before something is compiled

        return EventsVal(self)

    def __repr__(self) -> str:
        return f"<events {self.name!r} of {self.kind.__name__}>"
