"""Forward what memory holds: loads of what was stored or loaded become values; storing the same again is dropped.

What other processors may change (all but slots) is remembered up to the next call, as C compilers do.
"""

from __future__ import annotations

from pybpf.compiler.addresses import address_of
from pybpf.compiler.constants import extend
from pybpf.compiler.effects import FILLING_HELPERS
from pybpf.compiler.flow import replace_values, reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.memory import Memory
from pybpf.compiler.ops import INT
from pybpf.compiler.target import Target

__all__ = ["forward"]

#: bases, and ranges of each, that are remembered at one point of a program
_MOST = 16
_CALLS = frozenset(("call", "callfunc", "kfunc", "lookup", "peek", "update", "tryupdate", "delete", "tail"))


#: What memory holds: base -> (offset, size) -> a value whose low bytes are there.
_Held = dict[Operand, dict[tuple[int, int], Operand]]


def forward(unit: Unit, target: Target) -> None:
    """Forward values through the memory of all functions of a unit."""
    for function in unit.functions:
        _Forwarding(function, target.arch.endian == "little").run(function)


class _Forwarding:
    def __init__(self, function: Function, little: bool) -> None:
        self._memory = Memory(function)
        self._little = little
        self._after: dict[Block, _Held] = {}
        self._replaced: dict[Instr, Operand] = {}
        self._held: _Held = {}

    def run(self, function: Function) -> None:
        for block in reverse_postorder(function):
            self._held = self._before(block)
            kept = []
            for instr in block.instrs:
                instr.args = [self._replaced.get(arg, arg) if isinstance(arg, Instr) else arg for arg in instr.args]
                if self._visit(instr):
                    kept.append(instr)
            block.instrs = kept
            self._after[block] = self._held
        replace_values(function, self._replaced)

    def _before(self, block: Block) -> _Held:
        """What all predecessors agree on; nothing where a loop comes back."""
        if not block.predecessors or any(each not in self._after for each in block.predecessors):
            return {}
        first, *others = (self._after[each] for each in block.predecessors)
        return {
            base: {
                place: value
                for place, value in ranges.items()
                if all(other.get(base, {}).get(place) == value for other in others)
            }
            for base, ranges in first.items()
        }

    def _visit(self, instr: Instr) -> bool:
        """Follow an instruction; false if it goes."""
        if instr.op == "load":
            return self._load(instr)
        if instr.op == "store":
            return self._store(instr)
        if instr.op in _CALLS:
            self._call(instr)
        elif instr.info.effect == "writes":
            base, offset = address_of(instr.args[0], instr.attrs.get("offset", 0))
            self._forget(base, offset, instr.attrs["size"])
        return True

    def _load(self, instr: Instr) -> bool:
        base, offset = address_of(instr.args[0], instr.attrs["offset"])
        size, signed = instr.attrs["size"], bool(instr.attrs["signed"])
        value = self._held.get(base, {}).get((offset, size))
        if value is None and instr.type == INT:
            value = self._part(base, offset, size)
        if value is None or (INT if isinstance(value, int) else value.type) != instr.type:
            self._hold(base, offset, size, instr)
            return True
        if isinstance(value, int):
            self._replaced[instr] = extend(value, 8 * size, signed)
        elif size == 8 or (value.op == "load" and value.attrs == {**value.attrs, "size": size, "signed": signed}):
            self._replaced[instr] = value
        else:
            instr.op, instr.args, instr.attrs = "sext" if signed else "zext", [value], {"bits": 8 * size}
            return True
        return False

    def _part(self, base: Operand, offset: int, size: int) -> Operand | None:
        """The constant in a part of a wider range that holds one."""
        for width in (2, 4, 8):
            start = offset - offset % width
            whole = self._held.get(base, {}).get((start, width))
            if width > size and isinstance(whole, int):
                before = offset - start
                return whole >> 8 * (before if self._little else width - size - before)
        return None

    def _store(self, instr: Instr) -> bool:
        base, offset = address_of(instr.args[0], instr.attrs["offset"])
        size, value = instr.attrs["size"], instr.args[1]
        if base in self._memory.private and self._held.get(base, {}).get((offset, size)) == value:
            return False
        self._forget(base, offset, size)
        self._hold(base, offset, size, value)
        return True

    def _hold(self, base: Operand, offset: int, size: int, value: Operand) -> None:
        ranges = self._held.setdefault(base, {})
        ranges[offset, size] = value
        if len(ranges) > _MOST:
            del ranges[next(iter(ranges))]
        if len(self._held) > _MOST:
            del self._held[next(iter(self._held))]

    def _forget(self, base: Operand, offset: int, size: int) -> None:
        """Something is written: forget what it meets, and all that may be the same memory."""
        for other in [each for each in self._held if each is not base and self._memory.may_meet(each, base)]:
            del self._held[other]
        ranges = self._held.get(base, {})
        for start, width in [each for each in ranges if each[0] < offset + size and offset < sum(each)]:
            del ranges[start, width]

    def _call(self, instr: Instr) -> None:
        filled: Operand = 0
        if instr.op == "call" and instr.attrs["helper"] in FILLING_HELPERS and isinstance(instr.args[1], int):
            filled, offset = address_of(instr.args[0])
            self._forget(filled, offset, instr.args[1])
        for base in list(self._held):
            if (base is not filled or base not in self._memory.private) and self._memory.is_written(base, instr):
                del self._held[base]
