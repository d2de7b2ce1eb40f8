"""Streams of events from probes to Python: a ring buffer, or a perf buffer where the kernel has no ring buffer."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pybpf.compiler.ops import PTR
from pybpf.errors import BpfError
from pybpf.lang.counts import Counts
from pybpf.lang.values import Val
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType
from pybpf.types import Struct, layout, u32

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.compiler.target import Target
    from pybpf.lang.gen import Gen
    from pybpf.maps import EventReader, Map

__all__ = ["Events", "EventsVal"]

T = TypeVar("T")

#: pages of a ring buffer that is made without a number: 256 KiB of 4 KiB pages
PAGES = 64
_PAGE = 4096
#: BPF_F_CURRENT_CPU
_CURRENT_CPU = 0xFFFFFFFF
_ENOSPC = -28


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
    """

    def __init__(self, kind: type[T], counts: Counts, pages: int = PAGES, name: str = "") -> None:
        if not (isinstance(kind, type) and issubclass(kind, Struct)):
            raise TypeError(f"events are of a Struct class, not {kind!r}: class Event(Struct): pid: u32")
        if not 1 <= pages <= 1 << 18:
            raise ValueError(f"an event buffer has 1 to {1 << 18} pages of 4 KiB, not {pages}")
        self.kind = kind
        self.counter = counts.counter()
        self.name = name
        self._pages = 1 << (pages - 1).bit_length()
        self._buffers: dict[MapType, _Buffer] = {}
        self._reader: EventReader[T] | None = None

    def buffer(self, target: Target) -> _Buffer:
        """What the events go through on a kernel: an object whose ``spec`` is the map."""
        kind = MapType.RINGBUF if target.has("ringbuf") else MapType.PERF_EVENT_ARRAY
        made = self._buffers.get(kind)
        if made is None or made.spec.name != self.name:
            size = self._pages * _PAGE
            spec = MapSpec(kind, max_entries=size, name=self.name) if kind is MapType.RINGBUF else MapSpec(
                kind, u32, u32, 0, self.name
            )
            made = self._buffers[kind] = _Buffer(spec)
        return made

    def bind(self, loaded: Map) -> None:
        """The map has been created; the tracer calls this."""
        from pybpf.maps import PerfBufferReader, RingBufferReader

        if loaded.spec.type is MapType.RINGBUF:
            self._reader = RingBufferReader(loaded, self.kind, lost_counter=lambda: self.counter.value)
        else:
            size = max(self._pages * _PAGE // max(loaded.max_entries, 1), 2 * _PAGE)
            self._reader = PerfBufferReader(
                loaded, self.kind, size=size, lost_counter=lambda: self.counter.value
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
        """How many events were emitted and never delivered, because there was no room."""
        return self.counter.value if self._reader is None else self._reader.lost

    def read(self) -> list[T]:
        """The events that are there now; never waits."""
        return self.reader.read()

    def poll(self, timeout: float | None = None) -> list[T]:
        """Wait until there are events, at most ``timeout`` seconds, and return them."""
        return self.reader.poll(timeout)

    def drain(self, callback: Callable[[T], object], timeout: float | None = 0) -> int:
        """Call ``callback`` with each event that is there; returns how many there were."""
        return self.reader.drain(callback, timeout)

    def fileno(self) -> int:
        """A descriptor for ``poll`` or an event loop: readable when :meth:`read` should be called."""
        return self.reader.fileno()

    def __iter__(self) -> Iterator[T]:
        return iter(self.reader)

    def __aiter__(self) -> AsyncIterator[T]:
        return self.reader.__aiter__()

    def emit(self, *values: Any, **fields: Any) -> None:
        """In a probe: send an event, given as a Struct or by its fields; those that are left out are zero.

        :raises BpfError: outside of one.
        """
        raise BpfError("emit() works only in a probe, a function that a tracer's decorator compiles")

    def __probe_value__(self, gen: Gen) -> Val:
        return EventsVal(self)

    def __repr__(self) -> str:
        return f"<events {self.name!r} of {self.kind.__name__}>"


class EventsVal(Val):
    """A stream of events in a probe."""

    def __init__(self, events: Events[Any]) -> None:
        self.events = events

    @property
    def what(self) -> str:
        return f"the events {self.events.name!r}"

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name != "emit":
            self.refuse(gen, at, f"has no {name!r} in a probe; it has emit(...)")
        return EmitVal(self.events)


class EmitVal(Val):
    """``events.emit``"""

    def __init__(self, events: Events[Any]) -> None:
        self.events = events

    @property
    def what(self) -> str:
        return "the method emit() of events"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        from pybpf.lang.constants import Const
        from pybpf.lang.memory import Ref
        from pybpf.lang.structs import MadeStruct

        kind = self.events.kind
        only = args[0] if len(args) == 1 and not named else None
        value: Val
        if isinstance(only, (Ref, MadeStruct)) and only.kind is kind:
            value = only
        else:
            value = MadeStruct.of(gen, kind, args, named, at)
        buffer = self.events.buffer(gen.target)
        send = _to_ring if buffer.spec.type is MapType.RINGBUF else _to_perf_buffer
        send(gen, self.events, gen.use_map(buffer), value, at)
        return Const(None)


def _to_ring(gen: Gen, events: Events[Any], name: str, value: Val, at: ast.AST) -> None:
    """Reserve a record, fill it where it is, submit it. The kernel wakes a reader that has caught up (flags 0)."""
    from pybpf.lang.memory import RECORD, Ref

    b = gen.b
    size = layout(events.kind).size
    record = b.emit("call", b.emit("map", map=name), size, 0, helper="ringbuf_reserve", type=PTR)
    full, room, done = (b.new_block(each) for each in ("full", "room", "sent"))
    b.branch("eq", record, 0, full, room)
    b.seal(room)
    b.start(room)
    Ref.of(record, 0, events.kind, RECORD).put(gen, value, at)
    b.emit("call", record, 0, helper="ringbuf_submit")
    b.jump(done)
    b.seal(full)
    b.start(full)
    events.counter.bump(gen)
    b.jump(done)
    b.seal(done)
    b.start(done)


def _to_perf_buffer(gen: Gen, events: Events[Any], name: str, value: Val, at: ast.AST) -> None:
    """Make the record in memory of the function and send it. What finds no room the kernel counts itself."""
    from pybpf.lang.flow import when
    from pybpf.lang.memory import place

    b = gen.b
    record: Operand = place(gen, value, events.kind, at, "event").pointer(gen)
    size = layout(events.kind).size
    failed = b.emit(
        "call", gen.ctx, b.emit("map", map=name), _CURRENT_CPU, record, size, helper="perf_event_output"
    )
    with when(b, "slt", failed, 0, "failed"), when(b, "ne", failed, _ENOSPC, "unsent"):
        events.counter.bump(gen)
