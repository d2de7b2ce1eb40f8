"""Forward what memory holds: loads of what was stored or loaded become values; storing the same again is dropped.

What other processors may change (all but slots) is remembered up to the next call, as C compilers do.
"""

from __future__ import annotations

from typing import NamedTuple

from pybpf.compiler.addresses import address_of
from pybpf.compiler.constants import extend
from pybpf.compiler.effects import FILLING_HELPERS
from pybpf.compiler.flow import replace_values, reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.memory import Memory
from pybpf.compiler.ops import INT
from pybpf.compiler.target import Target

__all__ = ["forward"]

#: ranges of memory that are remembered at one point of a program
_MOST = 64
_CALLS = frozenset(("call", "callfunc", "kfunc", "lookup", "peek", "update", "tryupdate", "delete", "tail"))


class _Range(NamedTuple):
    """Bytes from a base on."""

    base: Operand
    offset: int
    size: int

    def meets(self, offset: int, size: int) -> bool:
        return self.offset < offset + size and offset < self.offset + self.size


#: What memory holds: a value whose low bytes are there.
_Held = dict[_Range, Operand]


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
            place: value
            for place, value in first.items()
            if all(place in other and other[place] == value for other in others)
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
        place = _Range(*address_of(instr.args[0], instr.attrs["offset"]), instr.attrs["size"])
        bits, signed = 8 * place.size, bool(instr.attrs["signed"])
        value = self._held.get(place)
        if value is None and instr.type == INT:
            value = self._part(place)
        if value is None or (INT if isinstance(value, int) else value.type) != instr.type:
            self._hold(place, instr)
            return True
        if isinstance(value, int):
            self._replaced[instr] = extend(value, bits, signed)
        elif place.size == 8 or (value.op == "load" and value.attrs == {**value.attrs, **_extension_of(instr)}):
            self._replaced[instr] = value
        else:
            instr.op, instr.args, instr.attrs = "sext" if signed else "zext", [value], {"bits": bits}
            return True
        return False

    def _part(self, place: _Range) -> Operand | None:
        """The constant in a part of a wider range that holds one."""
        for size in (2, 4, 8):
            start = place.offset - place.offset % size
            whole = self._held.get(_Range(place.base, start, size))
            if size > place.size and isinstance(whole, int):
                before = place.offset - start
                return whole >> 8 * (before if self._little else size - place.size - before)
        return None

    def _store(self, instr: Instr) -> bool:
        place = _Range(*address_of(instr.args[0], instr.attrs["offset"]), instr.attrs["size"])
        value = instr.args[1]
        if place.base in self._memory.private and self._held.get(place) == value:
            return False
        self._forget(*place)
        self._hold(place, value)
        return True

    def _hold(self, place: _Range, value: Operand) -> None:
        self._held[place] = value
        if len(self._held) > _MOST:
            del self._held[next(iter(self._held))]

    def _forget(self, base: Operand, offset: int, size: int) -> None:
        for place in list(self._held):
            if place.meets(offset, size) if place.base is base else self._memory.may_meet(place.base, base):
                del self._held[place]

    def _call(self, instr: Instr) -> None:
        filled = None
        if instr.op == "call" and instr.attrs["helper"] in FILLING_HELPERS and isinstance(instr.args[1], int):
            filled = _Range(*address_of(instr.args[0]), instr.args[1])
        for place in list(self._held):
            if filled is not None and filled.base is place.base:
                gone = place.meets(filled.offset, filled.size)
            else:
                gone = self._memory.is_written(place.base, instr)
            if gone:
                del self._held[place]


def _extension_of(load: Instr) -> dict[str, object]:
    return {"size": load.attrs["size"], "signed": load.attrs["signed"]}
