"""Text in memory of the program: its length, text behind text; in loops that the verifier takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.turns import loop
from pybpf.bt.lower.values import Known, Own, Scalar, Value
from pybpf.bt.types import UINT64, String, Type
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Block, Operand

__all__ = ["concatenated", "length"]


def length(gen: Gen, value: Value) -> Value:
    """How many bytes come before the NUL."""
    if isinstance(value, Known):
        return Scalar(UINT64, len(value.data.split(b"\0", 1)[0]))
    return Scalar(UINT64, _length(gen, value.own(gen)))


def _length(gen: Gen, text: Own) -> Operand:
    b, room = gen.b, text.type.size
    count = Choice(b, 0)

    def begin(body: Block, over: Block) -> None:
        inside = b.new_block("inside")
        b.branch("ult", count.value, room, inside, over)
        gen.land(inside)
        address = b.emit("add", text.pointer(gen), count.value)
        b.branch("ne", b.emit("load", address, offset=0, size=1, signed=False), 0, body, over)

    loop(gen, begin, lambda: None, lambda: count.set(b.emit("add", count.value, 1)))
    return count.value


def concatenated(gen: Gen, left: Value, right: Value, kind: Type) -> Value:
    """Text behind text."""
    assert isinstance(kind, String)
    one, other = left.own(gen), right.own(gen)
    room = kind.room
    slot = gen.b.slot(room, "joined")
    raw.clear(gen, slot, 0, room)
    raw.copy(gen, slot, 0, one.address, one.offset, one.type.size)
    first = _length(gen, Own(one.type, slot, 0))
    b, at = gen.b, Choice(gen.b, 0)

    def begin(body: Block, over: Block) -> None:
        b.branch("ult", at.value, other.type.size, body, over)

    def turn() -> None:
        byte = b.emit("load", b.emit("add", other.pointer(gen), at.value), offset=0, size=1, signed=False)
        place = b.emit("add", first, at.value)
        inside, done = b.new_block("inside"), b.new_block("copied")
        b.branch("ult", place, room, inside, done)
        gen.land(inside)
        b.emit("store", b.emit("add", slot, place), byte, offset=0, size=1)
        b.jump(done)
        gen.land(done)

    loop(gen, begin, turn, lambda: at.set(b.emit("add", at.value, 1)))
    return Own(kind, slot, 0)
