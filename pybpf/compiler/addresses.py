"""What is known of addresses: the value they start from, their offset, and which memory they lie in."""

from __future__ import annotations

from pybpf.compiler.ir import Instr, Operand
from pybpf.compiler.ops import PTR
from pybpf.record import NamedTuple

__all__ = ["Address", "address_of", "pieces"]


class Address(NamedTuple):
    """A value and a constant distance from it."""

    base: Operand
    offset: int


def address_of(pointer: Operand, offset: int = 0) -> Address:
    """Where a pointer points, through additions and subtractions of constants."""
    while isinstance(pointer, Instr) and pointer.op in ("add", "sub"):
        base, distance = pointer.args
        if isinstance(distance, Instr) or (isinstance(base, Instr) and base.type == PTR) != (pointer.type == PTR):
            break
        offset += distance if pointer.op == "add" else -distance
        pointer = base
    return Address(pointer, offset)


def pieces(offset: int, size: int) -> list[tuple[int, int]]:
    """Cut a range of bytes into naturally aligned accesses: (offset, size) of each, the widest that fit."""
    found = []
    end = offset + size
    while offset < end:
        width = 8
        while offset % width or offset + width > end:
            width //= 2
        found.append((offset, width))
        offset += width
    return found
