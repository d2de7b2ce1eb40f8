"""Bytes in memory that a program may touch: write known ones, clear, copy, compare; in the widest pieces that fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.values.emitter import Emitter

__all__ = ["clear", "copy", "differs", "load", "pieces", "pointer", "store", "write"]

#: bytes from which known zeros are cleared rather than stored
_MOST_STORED = 64


def pieces(offset: int, size: int, align: int = 8) -> Iterator[tuple[int, int]]:
    """(offset, size) of the widest aligned accesses that cover ``size`` bytes at ``offset`` of an aligned address."""
    end = offset + size
    while offset < end:
        width = next(w for w in (8, 4, 2, 1) if w <= align and w <= end - offset and offset % w == 0)
        yield offset, width
        offset += width


def pointer(gen: Emitter, address: Operand, offset: int) -> Operand:
    """The address ``offset`` bytes further on."""
    return gen.b.emit("add", address, offset) if offset else address


def write(gen: Emitter, address: Operand, offset: int, data: bytes, align: int = 8) -> None:
    """Store known bytes."""
    text = data.rstrip(b"\0")
    keep = len(data) if len(data) - len(text) < _MOST_STORED else len(text) + -(offset + len(text)) % 8
    for at, width in pieces(offset, min(keep, len(data)), align):
        word = int.from_bytes(data[at - offset : at - offset + width], "little")
        gen.b.emit("store", address, word, offset=at, size=width)
    if keep < len(data):
        clear(gen, address, offset + keep, len(data) - keep)


def load(gen: Emitter, address: Operand, offset: int, size: int, signed: bool, align: int = 8) -> Operand:
    """An integer, in pieces where it is not aligned, as in packed structs."""
    parts = list(pieces(offset, size, align))
    if len(parts) == 1:
        return gen.b.emit("load", address, offset=offset, size=size, signed=signed)
    value: Operand = 0
    for at, width in parts:
        part = gen.b.emit("load", address, offset=at, size=width, signed=signed and at + width == offset + size)
        moved = gen.b.emit("shl", part, 8 * (at - offset)) if at > offset else part
        value = gen.b.emit("or", value, moved) if at > offset else moved
    return value


def store(gen: Emitter, address: Operand, offset: int, size: int, value: Operand, align: int = 8) -> None:
    """Store an integer, in pieces where it is not aligned."""
    for at, width in pieces(offset, size, align):
        part = gen.b.emit("lshr", value, 8 * (at - offset)) if at > offset else value
        gen.b.emit("store", address, part, offset=at, size=width)


def clear(gen: Emitter, address: Operand, offset: int, size: int) -> None:
    """Set bytes to zero."""
    if size:
        gen.b.emit("zero", address, offset=offset, size=size)


def copy(
    gen: Emitter, to: Operand, to_offset: int, source: Operand, offset: int, size: int, align: int = 8
) -> None:
    """Copy bytes.

    :param align: what both addresses are multiples of, without the offsets.
    """
    if align == 8 and to_offset % 8 == 0 and offset % 8 == 0:
        gen.b.emit("copy", pointer(gen, to, to_offset), pointer(gen, source, offset), size=size)
        return
    shared = next(width for width in (8, 4, 2, 1) if width <= align and (to_offset - offset) % width == 0)
    for at, width in pieces(offset, size, shared):
        word = gen.b.emit("load", source, offset=at, size=width, signed=False)
        gen.b.emit("store", to, word, offset=at - offset + to_offset, size=width)


def differs(gen: Emitter, pairs: Iterable[tuple[Operand, Operand]]) -> Operand:
    """Zero if the two of each pair of words are equal."""
    total: Operand = 0
    for left, right in pairs:
        bits = gen.b.emit("xor", left, right)
        total = gen.b.emit("or", total, bits) if total != 0 else bits
    return total
