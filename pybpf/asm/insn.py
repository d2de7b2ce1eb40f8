"""One instruction, the source line that it may carry, and what its symbolic operand may be."""

from __future__ import annotations

from typing import Union

from pybpf.record import NamedTuple

__all__ = ["LD_IMM64", "Insn", "KfuncRef", "Label", "MapRef", "Ref", "SourceLine", "slots"]

#: The only opcode that takes two slots: a 64-bit constant, or the address of a map, a variable or a function.
LD_IMM64 = 0x18


class SourceLine(NamedTuple):
    """Where an instruction comes from; loaded as BTF line info, so that the verifier can quote it."""

    file: str
    line: int
    """Counted from 1."""
    column: int
    """Counted from 1; 0 when unknown."""
    text: str


class MapRef(NamedTuple):
    """A map by name, turned into a file descriptor when the program is loaded."""

    name: str
    offset: int | None = None
    """``None``: the map itself. A number: the address of that byte of the map's first value."""


class KfuncRef(NamedTuple):
    """A kernel function by name, turned into its BTF id when the program is loaded."""

    name: str


class Label(NamedTuple):
    """A name for the instruction that follows it in a :class:`~pybpf.asm.code.Code`."""

    name: str


#: A symbolic operand. A plain string is the label that a jump, a local call or ``subprog[...]`` aims at.
Ref = Union[str, MapRef, KfuncRef]


class Insn(NamedTuple):
    """One instruction.

    :ivar code: the opcode byte.
    :ivar dst: destination register, 0 to 10.
    :ivar src: source register, or what the opcode uses that field for.
    :ivar off: signed 16-bit offset: of memory in bytes, of a jump in slots from the following instruction.
    :ivar imm: signed 32-bit immediate; of ``ld_imm64``, which is one instruction of two slots, the unsigned
        64-bit value with the first slot's immediate in the lower half.
    :ivar ref: a symbolic operand, or ``None``; the field that it stands for is then 0.
    :ivar line: the source line, or ``None``.
    """

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    ref: Ref | None = None
    line: SourceLine | None = None

    def at(self, line: SourceLine | None) -> Insn:
        """The same instruction, carrying another source line."""
        return self._replace(line=line)

    def __str__(self) -> str:
        from pybpf.asm.text import describe  # text is made from the opcode table, which is above this file

        return describe(self)


def slots(insn: Insn) -> int:
    """How many 8-byte slots the instruction takes: 2 for ``ld_imm64``, else 1."""
    return 2 if insn.code == LD_IMM64 else 1
