"""What instructions work on: 64-bit registers, their 32-bit halves, and access sizes."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "DW", "FP", "R0", "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10",
    "W0", "W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "W10",
    "B", "H", "Reg", "Reg32", "Size", "W",
]  # fmt: skip


class Reg(IntEnum):
    """A whole 64-bit register, ``r0`` to ``r10`` in text. ``R10`` (also ``FP``) is the read-only frame pointer."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)

    def __str__(self) -> str:
        return f"r{self.value}"


class Reg32(IntEnum):
    """The lower half of a register, ``w0`` to ``w10`` in text; writing it clears the upper half."""

    W0, W1, W2, W3, W4, W5, W6, W7, W8, W9, W10 = range(11)

    def __str__(self) -> str:
        return f"w{self.value}"


class Size(IntEnum):
    """Width of a memory access; the value is what the size bits of the opcode hold."""

    W = 0x00
    H = 0x08
    B = 0x10
    DW = 0x18

    @property
    def bits(self) -> int:
        """8, 16, 32 or 64."""
        return _BITS[self]


_BITS = {Size.B: 8, Size.H: 16, Size.W: 32, Size.DW: 64}

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Reg
FP = R10
W0, W1, W2, W3, W4, W5, W6, W7, W8, W9, W10 = Reg32
B, H, W, DW = Size.B, Size.H, Size.W, Size.DW
