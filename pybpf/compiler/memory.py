"""Which memory an address lies in, so that a pass can tell accesses that cannot meet."""

from __future__ import annotations

from collections.abc import Hashable

from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import reads_only
from pybpf.compiler.ir import Function, Instr, Operand

__all__ = ["Memory"]

#: operations that only use an address to get at memory: operation -> positions of the addresses
_ACCESSES = {
    "load": (0,), "store": (0,), "zero": (0,), "copy": (0, 1), "atomic": (0,), "fetch": (0,), "cmpxchg": (0,),
    "lookup": (0,), "delete": (0,), "update": (0, 1), "tryupdate": (0, 1), "cmp": (0, 1), "branch": (0, 1),
}  # fmt: skip


class Memory:
    """The memories that a function works on.

    :ivar private: the slots that nothing but the instructions that name them, and helpers during a call, can reach.
    """

    def __init__(self, function: Function) -> None:
        slots = {instr for instr in function.blocks[0].instrs if instr.op == "slot"}
        self.private = slots - _escaping(function, slots)

    def place(self, base: Operand) -> Hashable:
        """A name for the memory that a base points into; ``None``: any but private slots."""
        if not isinstance(base, Instr):
            return None
        if base in self.private:
            return base
        if base.op in ("lookup", "mapvalue"):
            return "map", base.attrs["map"]
        if base.op == "call":
            return _called(base)
        return None

    def may_meet(self, one: Operand, other: Operand) -> bool:
        """Whether two bases may point into the same memory."""
        first, second = self.place(one), self.place(other)
        if first is None or second is None:
            return not (first in self.private or second in self.private)
        return first == second

    def is_written(self, base: Operand, instr: Instr) -> bool:
        """Whether a call, or what else has effects unknown, may write to the memory of a base."""
        if base not in self.private:
            return True
        for at, arg in enumerate(instr.args):
            if address_of(arg).base is base:
                read = reads_only(instr, at) if instr.op == "call" else instr.op in _ACCESSES
                if not read:
                    return True
        return False


def _called(call: Instr) -> Hashable:
    helper = call.attrs["helper"]
    if helper == "map_lookup_elem" and isinstance(call.args[0], Instr) and call.args[0].op == "map":
        return "map", call.args[0].attrs["map"]
    return None


def _escaping(function: Function, slots: set[Instr]) -> set[Instr]:
    """The slots whose address is kept somewhere, computed with, or given to code that is not known."""
    found = set()
    for block in function.blocks:
        for instr in block.instrs:
            if instr.op in ("add", "sub") and address_of(instr).base in slots:
                continue  # an address at a constant distance
            allowed = _ACCESSES.get(instr.op, ())
            if instr.op == "call" and not any(isinstance(arg, Instr) and arg.op == "func" for arg in instr.args):
                allowed = tuple(range(len(instr.args)))
            for at, arg in enumerate(instr.args):
                base = address_of(arg).base
                if at not in allowed and isinstance(base, Instr) and base in slots:
                    found.add(base)
    return found
