"""Comparing what is in memory: text, bytes, arrays, tuples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.values import Known, Own, Value, converted
from pybpf.bt.types import Buffer, Record, String, Tuple, join
from pybpf.lang.values import raw

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["differs"]


def differs(gen: Gen, left: Value, right: Value) -> Operand:
    """Zero if two values are equal."""
    if isinstance(left, Known) and not isinstance(right, Known):
        left, right = right, left
    if isinstance(left.type, String) and isinstance(right.type, String):
        if isinstance(right, Known):
            return _differs_from(gen, left, right.data)
        room = String(max(left.type.room, right.type.room))
        return _words(gen, _clean(gen, converted(gen, left, room)), _clean(gen, converted(gen, right, room)), room.room)
    if isinstance(left.type, Buffer) or isinstance(right.type, Buffer):
        return _buffers(gen, left, right)
    kind = join(left.type, right.type) or left.type
    if isinstance(kind, (Tuple, Record)):
        left, right = (converted(gen, each, kind) for each in (left, right))
    return _words(gen, left.own(gen), right.own(gen), kind.size)


def _clean(gen: Gen, value: Value) -> Own:
    """The value in memory, zeros behind its end."""
    return value.own(gen)


def _differs_from(gen: Gen, value: Value, data: bytes) -> Operand:
    """Zero if text is the same as text that is known."""
    room = value.type.size
    text = data.split(b"\0", 1)[0]
    if len(text) > room:
        return 1
    if len(text) < room:
        text += b"\0"
    found = value.own(gen)
    pairs = []
    for at, width in raw.pieces(found.offset, len(text)):
        word = gen.b.emit("load", found.address, offset=at, size=width, signed=False)
        pairs.append((word, int.from_bytes(text[at - found.offset : at - found.offset + width], "little")))
    return raw.differs(gen, pairs)


def _words(gen: Gen, left: Own, right: Own, size: int) -> Operand:
    pairs = []
    shared = next(width for width in (8, 4, 2, 1) if (left.offset - right.offset) % width == 0)
    for at, width in raw.pieces(left.offset, size, shared):
        pairs.append((
            gen.b.emit("load", left.address, offset=at, size=width, signed=False),
            gen.b.emit("load", right.address, offset=at - left.offset + right.offset, size=width, signed=False),
        ))  # fmt: skip
    return raw.differs(gen, pairs)


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
