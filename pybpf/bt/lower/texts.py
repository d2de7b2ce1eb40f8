"""Text in memory of the program: its length, text behind text, text in text; in loops that the verifier takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.turns import loop
from pybpf.bt.lower.values import Known, Own, Scalar, Value
from pybpf.bt.types import UINT64, String, Type
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Block, Operand

__all__ = ["concatenated", "difference", "length", "position"]


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


def position(gen: Gen, text: Own, wanted: Own) -> Operand:
    """Where text is that is wanted in another, -1 where it is not: one loop, which begins again a byte further on."""
    b = gen.b
    start, same, found = Choice(b, 0), Choice(b, 0), Choice(b, -1)

    def begin(body: Block, over: Block) -> None:
        b.branch("ult", start.value, text.type.size, body, over)

    def turn() -> None:
        byte = _byte(gen, wanted, same.value)
        more, other, behind, ended = (b.new_block(each) for each in ("more", "other", "behind", "ended"))
        b.branch("eq", byte, 0, ended, more)
        gen.land(ended)
        found.set(start.value)
        b.jump(gen.loops[-1].leave)
        gen.land(more)
        here = _byte(gen, text, b.emit("add", start.value, same.value))
        b.branch("eq", here, byte, behind, other)
        gen.land(behind)
        same.set(b.emit("add", same.value, 1))
        b.jump(gen.loops[-1].again)
        gen.land(other)
        left = b.new_block("left")
        b.branch("eq", here, 0, gen.loops[-1].leave, left)
        gen.land(left)
        start.set(b.emit("add", start.value, 1))
        same.set(0)

    loop(gen, begin, turn)
    return found.value


def difference(gen: Gen, left: Own, right: Own, most: Operand, text: bool) -> Operand:
    """The difference of the first bytes, of so many at most, that are not the same; 0: all are.

    :param text: what is behind a NUL does not count.
    """
    b = gen.b
    at, result = Choice(b, 0), Choice(b, 0)

    def begin(body: Block, over: Block) -> None:
        b.branch("ult", at.value, most, body, over)

    def turn() -> None:
        one, other = _byte(gen, left, at.value), _byte(gen, right, at.value)
        result.set(b.emit("sub", one, other))
        same = b.new_block("same")
        b.branch("eq", one, other, same, gen.loops[-1].leave)
        gen.land(same)
        if text:
            more = b.new_block("more")
            b.branch("eq", one, 0, gen.loops[-1].leave, more)
            gen.land(more)

    loop(gen, begin, turn, lambda: at.set(b.emit("add", at.value, 1)))
    return result.value


def _byte(gen: Gen, text: Own, index: Operand) -> Operand:
    """A byte of text; 0 behind its end."""
    b = gen.b
    found = Choice(b, 0)
    with when(b, "ult", index, text.type.size, "inside"):
        found.set(b.emit("load", b.emit("add", text.pointer(gen), index), offset=0, size=1, signed=False))
    return found.value
