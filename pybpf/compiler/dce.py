"""Drop instructions whose results nothing needs, and stores to slots that nothing reads."""

from __future__ import annotations

from pybpf.compiler.addresses import address_of
from pybpf.compiler.effects import FILLING_HELPERS, is_removable_call
from pybpf.compiler.ir import Function, Instr, Unit
from pybpf.compiler.target import Target

__all__ = ["dce"]

#: operations that write to their first operand and do nothing else
_STORES = frozenset(("store", "zero", "copy", "atomic"))


def dce(unit: Unit, target: Target) -> None:
    """Keep what has an effect and what that needs."""
    for function in unit.functions:
        _dce(function)


def _filled_slot(instr: Instr) -> Instr | None:
    """The slot that an instruction fills, if that is all it does."""
    if instr.op not in _STORES and not (instr.op == "call" and instr.attrs["helper"] in FILLING_HELPERS):
        return None
    base = address_of(instr.args[0]).base
    return base if isinstance(base, Instr) and base.op == "slot" else None


def _dce(function: Function) -> None:
    live: set[Instr] = set()
    fillers: dict[Instr, list[Instr]] = {}
    work: list[Instr] = []
    for block in function.blocks:
        for instr in block.instrs:
            slot = _filled_slot(instr)
            if slot is not None:
                fillers.setdefault(slot, []).append(instr)
            elif instr.info.effect in ("writes", "ends") and not is_removable_call(instr):
                work.append(instr)
    while work:
        instr = work.pop()
        if instr in live:
            continue
        live.add(instr)
        work += fillers.pop(instr, ())  # a slot that something looks at
        work += [arg for arg in instr.args if isinstance(arg, Instr) and arg not in live]
    for block in function.blocks:
        block.instrs = [instr for instr in block.instrs if instr in live]
