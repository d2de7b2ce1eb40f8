"""Events in a probe: ``emit``, and ``reserve``, ``submit`` and ``discard``, through a ring buffer or a perf buffer."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.state.sending import is_ring, room, to_perf_buffer, to_ring
from pybpf.lang.values import raw
from pybpf.lang.values.constants import Const
from pybpf.lang.values.memory import OWN, RECORD, Maybe, Ref, place
from pybpf.lang.values.structs import MadeStruct, StructRef
from pybpf.lang.values.val import Val
from pybpf.types import sizeof

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.state.output import Events

__all__ = ["EmitVal", "EventsVal", "Reserved"]


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
        if is_ring(gen, self.events):
            to_ring(gen, self.events, sizeof(kind), lambda record: Ref.of(record, 0, kind, RECORD).put(gen, value, at))
        else:
            record = place(gen, value, kind, at, "event").pointer(gen)
            to_perf_buffer(gen, self.events, record, sizeof(kind))
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


def _reserve(gen: Gen, events: Events[Any]) -> Val:
    kind, b = events.kind, gen.b
    size = sizeof(kind)
    if not is_ring(gen, events):
        slot = b.slot(size, "event")
        raw.clear(gen, slot, 0, size)
        return Reserved(1, Ref.of(slot, 0, kind, OWN), events)
    record = room(gen, events, size)
    gen.reserves = True
    full, found, done = (b.new_block(each) for each in ("full", "room", "reserved"))
    b.branch("eq", record, 0, full, found)
    b.seal(full)
    b.start(full)
    events.counter.bump(gen)
    b.jump(done)
    b.seal(found)
    b.start(found)
    raw.clear(gen, record, 0, size)
    b.jump(done)
    b.seal(done)
    b.start(done)
    return Reserved(record, Ref.of(record, 0, kind, RECORD), events)


def _submit(gen: Gen, events: Events[Any], event: Ref) -> None:
    if event.space == RECORD:
        gen.b.emit("call", event.address, 0, helper="ringbuf_submit")
    else:
        to_perf_buffer(gen, events, event.address, event.size)


def _discard(gen: Gen, events: Events[Any], event: Ref) -> None:
    if event.space == RECORD:
        gen.b.emit("call", event.address, 0, helper="ringbuf_discard")


_METHODS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"reserve": _reserve, "submit": _submit, "discard": _discard}
)
