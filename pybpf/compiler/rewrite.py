"""Replace instructions by sequences of others: what every lowering pass is written with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pybpf.asm import SourceLine
from pybpf.compiler.build import result_type
from pybpf.compiler.flow import replace_values
from pybpf.compiler.ir import Function, Instr, Operand, Unit
from pybpf.compiler.ops import INT, PTR
from pybpf.compiler.target import Target

__all__ = ["KEEP", "Lowering", "Rewriter", "lower"]

#: What a lowering gives for an instruction that stays.
KEEP = object()
#: Slots that are remembered to be shared: each is in use from its first to its last user.
_MOST_SHARED = 16


class Rewriter:
    """Where the instructions that replace another one go.

    :ivar unit: what is compiled.
    :ivar target: the kernel it is for.
    """

    def __init__(self, unit: Unit, function: Function, target: Target) -> None:
        self.unit = unit
        self.target = target
        self.line: SourceLine | None = None
        self._function = function
        self._out: list[Instr] = []
        self._slots: list[Instr] = []
        self._shared: dict[Any, Instr] = {}

    def emit(self, op: str, *args: Operand, type: str = INT, **attrs: Any) -> Instr:
        """Append an instruction; ``type`` counts where the operation leaves it open."""
        instr = Instr(op, list(args), result_type(op, list(args), type), attrs, self.line)
        self._out.append(instr)
        return instr

    def slot(self, size: int, name: str, key: Any = None) -> Instr:
        """Memory of the function, 8-byte aligned; the same again for an equal ``key`` that was used not long ago."""
        if key is not None and key in self._shared:
            self._shared[key] = self._shared.pop(key)  # the last one again
            return self._shared[key]
        slot = Instr("slot", [], PTR, {"size": size, "align": 8, "name": name}, self.line)
        self._slots.append(slot)
        if key is not None:
            self._shared[key] = slot
            if len(self._shared) > _MOST_SHARED:
                del self._shared[next(iter(self._shared))]
        return slot

    def run(self, lowerings: Mapping[str, Lowering]) -> None:
        """Pass every instruction whose operation is in the table to its lowering."""
        replaced: dict[Instr, Operand] = {}
        for block in self._function.blocks:
            if not any(instr.op in lowerings for instr in block.instrs):
                continue
            self._out = []
            for instr in block.instrs:
                lowering = lowerings.get(instr.op)
                if lowering is None:
                    self._out.append(instr)
                    continue
                self.line = instr.line
                value = lowering(self, instr)
                if value is KEEP:
                    self._out.append(instr)
                elif value is not None:
                    replaced[instr] = value
            block.instrs = self._out
        self._function.blocks[0].instrs[:0] = self._slots
        replace_values(self._function, replaced)


#: Writes what an instruction becomes and gives its value: an operand, ``None`` where it has none, or :data:`KEEP`.
Lowering = Callable[[Rewriter, Instr], Any]


def lower(unit: Unit, target: Target, lowerings: Mapping[str, Lowering]) -> None:
    """Apply a table of operation -> lowering to all functions of a unit."""
    for function in unit.functions:
        Rewriter(unit, function, target).run(lowerings)
