"""Sending events from a program, through a ring buffer or a perf buffer; for both languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ops import PTR
from pybpf.lang.values import raw
from pybpf.lang.values.flow import when
from pybpf.sys.bpf import MapType

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.state.output import Events
    from pybpf.lang.values.emitter import Emitter

__all__ = ["CURRENT_CPU", "is_ring", "room", "send", "to_perf_buffer", "to_ring"]

#: BPF_FCURRENT_CPU
CURRENT_CPU = 0xFFFFFFFF
_ENOSPC = -28


def send(gen: Emitter, events: Events[Any], size: int, fill: Callable[[Operand], None]) -> None:
    """Send an event of so many bytes, which ``fill`` writes to an address; what finds no room is counted."""
    if is_ring(gen, events):
        to_ring(gen, events, size, fill)
        return
    record = gen.b.slot(size, "event")
    raw.clear(gen, record, 0, size)
    fill(record)
    to_perf_buffer(gen, events, record, size)


def is_ring(gen: Emitter, events: Events[Any]) -> bool:
    """Whether events go through a ring buffer, not a perf buffer."""
    return events.buffer(gen.target).spec.type is MapType.RINGBUF


def _map(gen: Emitter, events: Events[Any]) -> Operand:
    return gen.b.emit("map", map=gen.use_map(events.buffer(gen.target)))


def room(gen: Emitter, events: Events[Any], size: int) -> Operand:
    """A record in the ring buffer, or null."""
    return gen.b.emit("call", _map(gen, events), size, 0, helper="ringbuf_reserve", type=PTR)


def to_ring(gen: Emitter, events: Events[Any], size: int, fill: Callable[[Operand], None]) -> None:
    """Reserve a record, fill it where it is, submit it. The kernel wakes a reader that has caught up (flags 0)."""
    b = gen.b
    record = room(gen, events, size)
    full, found, done = (b.new_block(each) for each in ("full", "room", "sent"))
    b.branch("eq", record, 0, full, found)
    b.seal(found)
    b.start(found)
    fill(record)
    b.emit("call", record, 0, helper="ringbuf_submit")
    b.jump(done)
    b.seal(full)
    b.start(full)
    events.counter.bump(gen)
    b.jump(done)
    b.seal(done)
    b.start(done)


def to_perf_buffer(gen: Emitter, events: Events[Any], record: Operand, size: int) -> None:
    """Send what is in memory of the function. What finds no room the kernel counts itself."""
    b = gen.b
    failed = b.emit("call", gen.ctx, _map(gen, events), CURRENT_CPU, record, size, helper="perf_event_output")
    with when(b, "slt", failed, 0, "failed"), when(b, "ne", failed, _ENOSPC, "unsent"):
        events.counter.bump(gen)
