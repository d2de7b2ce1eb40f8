"""Comparing what is in memory: text, bytes, arrays, tuples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pybpf.bt.lower.values import Known, Own, Value, converted
from pybpf.bt.types import Buffer, Record, String, Tuple, join
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["differs"]

#: Words that are compared before what they have shown is asked.
_GROUP = 8


def differs(gen: Gen, left: Value, right: Value) -> Operand:
    """Zero if two values are equal."""
    if isinstance(left, Known) and not isinstance(right, Known):
        left, right = right, left
    if isinstance(left.type, String) and isinstance(right.type, String):
        if isinstance(right, Known):
            return _differs_from(gen, left, right.data)
        return _texts(gen, left.own(gen), right.own(gen))
    if isinstance(left.type, Buffer) or isinstance(right.type, Buffer):
        return _buffers(gen, left, right)
    kind = join(left.type, right.type) or left.type
    if isinstance(kind, (Tuple, Record)):
        left, right = (converted(gen, each, kind) for each in (left, right))
    return _words(gen, left.own(gen), right.own(gen), kind.size)


def _texts(gen: Gen, left: Own, right: Own) -> Operand:
    """Zero if two texts are equal, both with zeros behind their ends: the longer one must end where the other does."""
    if left.type.size < right.type.size:
        left, right = right, left
    common = right.type.size
    if left.type.size == common:
        return _words(gen, left, right, common)
    found = Choice(gen.b, _words(gen, left, right, common))
    with when(gen.b, "eq", found.value, 0, "alike"):
        found.set(gen.b.emit("load", left.address, offset=left.offset + common, size=1, signed=False))
    return found.value


def _differs_from(gen: Gen, value: Value, data: bytes) -> Operand:
    """Zero if text is the same as text that is known."""
    room = value.type.size
    text = data.split(b"\0", 1)[0]
    if len(text) > room:
        return 1
    if len(text) < room:
        text += b"\0"
    found = value.own(gen)
    pairs = (
        (
            gen.b.emit("load", found.address, offset=at, size=width, signed=False),
            int.from_bytes(text[at - found.offset : at - found.offset + width], "little"),
        )
        for at, width in raw.pieces(found.offset, len(text))
    )
    return raw.differs(gen, pairs)


def _words(gen: Gen, left: Own, right: Own, size: int) -> Operand:
    """Zero if so many bytes are equal: word by word, a group of words after the other while they are."""
    b = gen.b
    shared = next(width for width in (8, 4, 2, 1) if (left.offset - right.offset) % width == 0)
    words = list(raw.pieces(left.offset, size, shared))

    def pairs(group: list[tuple[int, int]]) -> Iterator[tuple[Operand, Operand]]:
        for at, width in group:  # each pair is compared before the next is loaded: registers are few
            yield (
                b.emit("load", left.address, offset=at, size=width, signed=False),
                b.emit("load", right.address, offset=at - left.offset + right.offset, size=width, signed=False),
            )

    if len(words) <= _GROUP:
        return raw.differs(gen, pairs(words))
    found = Choice(b, 0)
    done = b.new_block("compared")
    for start in range(0, len(words), _GROUP):
        found.set(raw.differs(gen, pairs(words[start : start + _GROUP])))
        more = b.new_block("alike")
        b.branch("eq", found.value, 0, more, done)
        gen.land(more)
    b.jump(done)
    gen.land(done)
    return found.value


def _buffers(gen: Gen, left: Value, right: Value) -> Operand:
    """Buffers are equal where as many bytes as the shorter one has room for are."""
    places = []
    for each in (left, right):
        found = each.own(gen)
        skip = 4 if isinstance(each.type, Buffer) else 0
        room = each.type.room if isinstance(each.type, (Buffer, String)) else each.type.size
        places.append((Own(each.type, found.address, found.offset + skip), room))
    (one, size), (other, its) = places
    return _words(gen, one, other, min(size, its))
