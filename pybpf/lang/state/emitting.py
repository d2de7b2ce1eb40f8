"""Events in a probe: ``emit``, and ``reserve``, ``submit`` and ``discard``, through a ring buffer or a perf buffer."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ops import PTR
from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import when
from pybpf.lang.values.memory import OWN, RECORD, Maybe, Ref, place
from pybpf.lang.values.structs import MadeStruct, StructRef
from pybpf.lang.values.val import Val
from pybpf.sys.bpf import MapType
from pybpf.types import sizeof

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.state.output import Events
    from pybpf.lang.values.emitter import Emitter

__all__ = ["CURRENT_CPU", "EmitVal", "EventsVal", "Reserved", "send"]

#: BPF_FCURRENT_CPU
CURRENT_CPU = 0xFFFFFFFF
_ENOSPC = -28


class EventsVal(Val):
    """A stream of events in a probe."""

    def __init__(self, events: Events[Any]) -> None:
        self.events = events

    @property
    def what(self) -> str:
        return f"the events {self.events.name!r}"

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name == "emit":
            return EmitVal(self.events)
        if name not in _METHODS:
            self.refuse(gen, at, f"has no {name!r} in a probe; it has emit, {', '.join(_METHODS)}")
        return _Method(self.events, name)


class EmitVal(Val):
    """``events.emit``"""

    def __init__(self, events: Events[Any]) -> None:
        self.events = events

    @property
    def what(self) -> str:
        return "the method emit() of events"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        kind = self.events.kind
        only = args[0] if len(args) == 1 and not named else None
        if isinstance(only, Maybe):
            only = only.use(gen, at)
        value: Val
        if isinstance(only, (Ref, MadeStruct)) and only.kind is kind:
            value = only
        else:
            first = next(iter(kind.__layout__.fields.values())).kind
            if isinstance(only, (StructRef, MadeStruct)) and only.kind is not first:
                self.refuse(gen, at, f"takes a {kind.__name__}, or its fields by name, not {only.what}")
            value = MadeStruct.of(gen, kind, args, named, at)
        if _is_ring(gen, self.events):
            _to_ring(gen, self.events, sizeof(kind), lambda record: Ref.of(record, 0, kind, RECORD).put(gen, value, at))
        else:
            record = place(gen, value, kind, at, "event").pointer(gen)
            _to_perf_buffer(gen, self.events, record, sizeof(kind))
        return Const(None)


class Reserved(Maybe):
    """What ``reserve()`` gave: an event, or None where there was no room.

    :ivar event: the event.
    """

    def __init__(self, there: Operand, event: Ref, events: Events[Any]) -> None:
        super().__init__(there, event, "reserve()")
        self.event = event
        self.events = events

    def submit(self, gen: Gen) -> None:
        """Send the event."""
        _submit(gen, self.events, self.event)

    def discard(self, gen: Gen) -> None:
        """Give its memory back."""
        _discard(gen, self.events, self.event)


class _Method(Val):
    """``events.reserve`` and its like."""

    def __init__(self, events: Events[Any], name: str) -> None:
        self.events = events
        self.name = name

    @property
    def what(self) -> str:
        return f"the method {self.name}() of events"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        if self.name == "reserve":
            if args or named:
                gen.fail(at, "reserve() takes nothing: assign to the fields of what it gives")
            return _reserve(gen, self.events)
        if gen.frame.has_reserved(self.events):
            gen.fail(at, f"this event is submitted at the end of its 'with', and discarded by 'return' in it: "
                     f"{self.name}() is for events without 'with'")  # fmt: skip
        event = args[0] if len(args) == 1 and not named else None
        if isinstance(event, Maybe):
            event = event.use(gen, at)
        if not isinstance(event, Ref) or event.kind is not self.events.kind or event.offset:
            gen.fail(at, f"{self.name}() takes an event that reserve() gave")
        _METHODS[self.name](gen, self.events, event)
        return Const(None)


def send(gen: Emitter, events: Events[Any], size: int, fill: Callable[[Operand], None]) -> None:
    """Send an event of so many bytes, which ``fill`` writes to an address; what finds no room is counted."""
    if _is_ring(gen, events):
        _to_ring(gen, events, size, fill)
        return
    record = gen.b.slot(size, "event")
    raw.clear(gen, record, 0, size)
    fill(record)
    _to_perf_buffer(gen, events, record, size)


def _is_ring(gen: Emitter, events: Events[Any]) -> bool:
    return events.buffer(gen.target).spec.type is MapType.RINGBUF


def _map(gen: Emitter, events: Events[Any]) -> Operand:
    return gen.b.emit("map", map=gen.use_map(events.buffer(gen.target)))


def _room(gen: Emitter, events: Events[Any], size: int) -> Operand:
    """A record in the ring buffer, or null."""
    return gen.b.emit("call", _map(gen, events), size, 0, helper="ringbuf_reserve", type=PTR)


def _to_ring(gen: Emitter, events: Events[Any], size: int, fill: Callable[[Operand], None]) -> None:
    """Reserve a record, fill it where it is, submit it. The kernel wakes a reader that has caught up (flags 0)."""
    b = gen.b
    record = _room(gen, events, size)
    full, room, done = (b.new_block(each) for each in ("full", "room", "sent"))
    b.branch("eq", record, 0, full, room)
    b.seal(room)
    b.start(room)
    fill(record)
    b.emit("call", record, 0, helper="ringbuf_submit")
    b.jump(done)
    b.seal(full)
    b.start(full)
    events.counter.bump(gen)
    b.jump(done)
    b.seal(done)
    b.start(done)


def _to_perf_buffer(gen: Emitter, events: Events[Any], record: Operand, size: int) -> None:
    """Send what is in memory of the function. What finds no room the kernel counts itself."""
    b = gen.b
    failed = b.emit("call", gen.ctx, _map(gen, events), CURRENT_CPU, record, size, helper="perf_event_output")
    with when(b, "slt", failed, 0, "failed"), when(b, "ne", failed, _ENOSPC, "unsent"):
        events.counter.bump(gen)


def _reserve(gen: Gen, events: Events[Any]) -> Val:
    kind, b = events.kind, gen.b
    size = sizeof(kind)
    if not _is_ring(gen, events):
        slot = b.slot(size, "event")
        raw.clear(gen, slot, 0, size)
        return Reserved(1, Ref.of(slot, 0, kind, OWN), events)
    record = _room(gen, events, size)
    gen.reserves = True
    full, room, done = (b.new_block(each) for each in ("full", "room", "reserved"))
    b.branch("eq", record, 0, full, room)
    b.seal(full)
    b.start(full)
    events.counter.bump(gen)
    b.jump(done)
    b.seal(room)
    b.start(room)
    raw.clear(gen, record, 0, size)
    b.jump(done)
    b.seal(done)
    b.start(done)
    return Reserved(record, Ref.of(record, 0, kind, RECORD), events)


def _submit(gen: Gen, events: Events[Any], event: Ref) -> None:
    if event.space == RECORD:
        gen.b.emit("call", event.address, 0, helper="ringbuf_submit")
    else:
        _to_perf_buffer(gen, events, event.address, event.size)


def _discard(gen: Gen, events: Events[Any], event: Ref) -> None:
    if event.space == RECORD:
        gen.b.emit("call", event.address, 0, helper="ringbuf_discard")


_METHODS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"reserve": _reserve, "submit": _submit, "discard": _discard}
)
