"""Merge stores of constants next to each other into wide ones, as far as an instruction can hold their value."""

from __future__ import annotations

from pybpf.asm import SourceLine
from pybpf.compiler.addresses import address_of, pieces
from pybpf.compiler.effects import is_pure_call
from pybpf.compiler.ir import Block, Instr, Unit
from pybpf.compiler.memory import Memory
from pybpf.compiler.target import Target

__all__ = ["widen"]

#: what the immediate operand of a store can be, sign-extended
_IMMEDIATE = range(-(1 << 31), 1 << 31)


def widen(unit: Unit, target: Target) -> None:
    """Merge the constant stores of all functions of a unit."""
    for function in unit.functions:
        memory = Memory(function)
        for block in function.blocks:
            if sum(instr.op == "store" and isinstance(instr.args[1], int) for instr in block.instrs) > 1:
                _Widening(memory, target.arch.endian).run(block)


class _Widening:
    """The work on one block: constant stores wait until something may look at their memory."""

    def __init__(self, memory: Memory, endian: str) -> None:
        self._memory = memory
        self._little = endian == "little"
        self._waiting: dict[Instr, dict[int, int]] = {}
        self._line: dict[Instr, SourceLine | None] = {}
        self._out: list[Instr] = []

    def run(self, block: Block) -> None:
        for instr in block.instrs:
            if not self._wait(instr):
                self._flush_for(instr)
                self._out.append(instr)
        block.instrs = self._out

    def _wait(self, instr: Instr) -> bool:
        """Let a constant store wait; false if the instruction is none."""
        if instr.op != "store" or not isinstance(instr.args[1], int):
            return False
        base, offset = address_of(instr.args[0], instr.attrs["offset"])
        if not isinstance(base, Instr) or self._memory.place(base) is None:
            return False
        for other in list(self._waiting):
            if other is not base and self._memory.may_meet(other, base):
                self._flush(other)
        size = instr.attrs["size"]
        for at in range(size):
            shift = 8 * (at if self._little else size - 1 - at)
            self._waiting.setdefault(base, {})[offset + at] = instr.args[1] >> shift & 0xFF
        self._line[base] = instr.line
        return True

    def _flush_for(self, instr: Instr) -> None:
        """Write what the instruction may look at or write over."""
        if instr.info.effect == "pure" or is_pure_call(instr):
            return
        if instr.op in ("load", "store"):
            place, offset = address_of(instr.args[0], instr.attrs["offset"])
            touched = range(offset, offset + instr.attrs["size"])
            for base in list(self._waiting):
                waiting = self._waiting[base]
                if any(at in waiting for at in touched) if base is place else self._memory.may_meet(base, place):
                    self._flush(base)
            return
        for base in list(self._waiting):
            self._flush(base)

    def _flush(self, base: Instr) -> None:
        waiting = self._waiting.pop(base)
        while waiting:
            start = end = next(iter(sorted(waiting)))
            while end in waiting:
                end += 1
            for offset, size in pieces(start, end - start):
                self._store(base, offset, bytes(waiting.pop(at) for at in range(offset, offset + size)))

    def _store(self, base: Instr, offset: int, content: bytes) -> None:
        value = int.from_bytes(content, "little" if self._little else "big", signed=True)
        if value not in _IMMEDIATE:
            self._store(base, offset, content[:4])
            self._store(base, offset + 4, content[4:])
            return
        attrs = {"offset": offset, "size": len(content)}
        self._out.append(Instr("store", [base, value], "", attrs, self._line[base]))
