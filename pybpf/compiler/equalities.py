"""Use constants: an integer that a branch has found equal to a constant is that constant from there on.

So what a filter compares, the id of the process for one, takes no register behind it.
"""

from __future__ import annotations

from pybpf.compiler.flow import Dominators
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import INT
from pybpf.compiler.scopes import Scopes
from pybpf.compiler.target import Target

__all__ = ["equalities"]

#: constants that any instruction can hold
_IMMEDIATE = range(-(1 << 31), 1 << 31)
#: what keeps the value itself: there it is as good in its register, which may be the one that is wanted
_KEEPS_VALUE = frozenset(("phi", "ret"))
#: condition -> which way the operands are equal
_EQUAL = {"eq": 0, "ne": 1}


def equalities(unit: Unit, target: Target) -> None:
    """Put constants in the place of values that are known to be equal to them, in all functions of a unit."""
    for function in unit.functions:
        _use_constants(function)


def _use_constants(function: Function) -> None:
    scopes: Scopes[int] = Scopes(Dominators(function))
    for block in scopes.walk():
        if len(block.predecessors) == 1:
            _learn(block.predecessors[0], block, scopes)
        for instr in block.instrs:
            if instr.op not in _KEEPS_VALUE:
                instr.args = [_known(arg, scopes) for arg in instr.args]


def _learn(before: Block, block: Block, scopes: Scopes[int]) -> None:
    """Note what the branch that leads to a block has found."""
    if before.end.op != "branch" or before.successors[0] is before.successors[1]:
        return
    value, constant = before.end.args
    way = _EQUAL.get(before.end.attrs["cond"])
    if way is None or before.successors[way] is not block:
        return
    if isinstance(value, Instr) and value.type == INT and isinstance(constant, int) and constant in _IMMEDIATE:
        scopes.set(value, constant)


def _known(arg: Operand, scopes: Scopes[int]) -> Operand:
    constant = scopes.get(arg) if isinstance(arg, Instr) else None
    return arg if constant is None else constant
