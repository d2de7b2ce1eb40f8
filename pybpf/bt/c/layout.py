"""Where C puts the members of a struct or union."""

from __future__ import annotations

from collections.abc import Sequence

from pybpf.bt.c.types import CMember, CType, align_of, size_of
from pybpf.record import NamedTuple

__all__ = ["Declared", "lay_out"]


class Declared(NamedTuple):
    """A member as it is declared."""

    name: str
    type: CType
    bits: int | None = None  #: width of a bit-field
    align: int = 0  #: bytes that ``__attribute__((aligned))`` asks for, or 0
    packed: bool = False


def lay_out(
    keyword: str, members: Sequence[Declared], packed: bool = False, least_align: int = 1
) -> tuple[tuple[CMember, ...], int, int]:
    """Members with offsets, size and alignment of a struct or union, as the System V ABI of x86_64 has them.

    aarch64 differs in one thing: bit-fields without a name count for the alignment of the struct there.
    """
    found = []
    at = size = 0  # bits
    align = least_align
    for member in members:
        if keyword == "union":
            at = 0
        own = 1 if packed or member.packed else align_of(member.type)
        own = max(own, member.align)
        if member.bits is None:
            at = _up(at, 8 * own)
            width = 8 * size_of(member.type)
        else:
            at = _bit_field(at, member, packed or member.packed)
            width = member.bits
        if member.name or member.bits is None:
            align = max(align, own)
            found.append(CMember(member.name, member.type, at, member.bits or 0))
        at += width
        size = max(size, at)
    return tuple(found), _up(size, 8 * align) // 8, align


def _bit_field(at: int, member: Declared, packed: bool) -> int:
    """Where a bit-field goes that may start at a bit: it does not cross a boundary of its type."""
    assert member.bits is not None
    unit = 8 * size_of(member.type)
    if member.bits == 0:
        return _up(at, 8 * align_of(member.type))
    if member.align:
        at = _up(at, 8 * member.align)
    if not packed and at // unit != (at + member.bits - 1) // unit:
        at = _up(at, 8 * align_of(member.type))
    return at


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
