"""Compute once: equal pure operations, loads of the context, and helper calls that give the same again.

A value that dominates an equal one takes its place.
"""

from __future__ import annotations

from collections.abc import Hashable

from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import is_pure_call
from pybpf.compiler.flow import Dominators, replace_values
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.scopes import Scopes
from pybpf.compiler.target import Target

__all__ = ["cse", "read_only_context"]

#: never shared: slots are memory, and addresses of maps and functions are cheapest made where they are used
_NOT_SHARED = frozenset(("slot", "map", "func"))
#: shared in one block only: phis belong to theirs, and an address is cheaper made again than kept across calls
_IN_BLOCK = frozenset(("phi", "mapvalue"))
_COMMUTATIVE = frozenset(("add", "mul", "and", "or", "xor"))


def cse(unit: Unit, target: Target) -> None:
    """Share equal values in all functions of a unit."""
    for function in unit.functions:
        _share(function, read_only_context(function) if function is unit.functions[0] else set())


def read_only_context(function: Function) -> set[Instr]:
    """The parameters of a program, if nothing writes to the context."""
    context = {instr for instr in function.blocks[0].instrs if instr.op == "param"}
    for block in function.blocks:
        for instr in block.instrs:
            if instr.info.effect != "writes":
                continue
            written = instr.op != "call" and bool(instr.args) and address_of(instr.args[0]).base in context
            if written or instr.attrs.get("helper") == "override_return":
                return set()
    return context


def _share(function: Function, context: set[Instr]) -> None:
    replaced: dict[Instr, Operand] = {}
    scopes: Scopes[Instr] = Scopes(Dominators(function))
    numbers: dict[Instr, int] = {}
    for block in scopes.walk():
        for instr in block.instrs:
            instr.args = [replaced.get(arg, arg) if isinstance(arg, Instr) else arg for arg in instr.args]
            numbers[instr] = len(numbers)
            if not _is_shared(instr, context):
                continue
            key = _key(instr, block, numbers)
            found = scopes.get(key)
            if found is None:
                scopes.set(key, instr)
            else:
                replaced[instr] = found
    replace_values(function, replaced)


def _is_shared(instr: Instr, context: set[Instr]) -> bool:
    if instr.info.effect == "pure":
        return instr.op not in _NOT_SHARED
    return is_pure_call(instr) or (instr.op == "load" and instr.args[0] in context)


def _key(instr: Instr, block: Block, numbers: dict[Instr, int]) -> Hashable:
    args = [(numbers.get(arg, -1), arg) if isinstance(arg, Instr) else (-2, arg) for arg in instr.args]
    if instr.op in _COMMUTATIVE:
        args.sort(key=lambda each: each[0], reverse=True)
    place = block if instr.op in _IN_BLOCK else None
    return instr.op, tuple(arg for _, arg in args), tuple(sorted(instr.attrs.items())), instr.type, place
