"""Accesses whose offset does not fit an instruction: the address of a part of the memory is computed first."""

from __future__ import annotations

from pybpf.compiler.addresses import address_of
from pybpf.compiler.ir import Block, Instr, Operand, Unit
from pybpf.compiler.ops import OPS
from pybpf.compiler.target import Target

__all__ = ["far_offsets"]

_LEAST, _MOST = -0x8000, 0x7FFF
#: Parts begin at multiples of this: so accesses near each other share one, and none loses its alignment.
_PART = 0x7000
#: What has a place of its own: the back end knows its address, and counts from there.
_PLACED = frozenset({"slot", "mapvalue"})
_ACCESSES = frozenset(name for name, op in OPS.items() if {"offset", "size"} <= {*op.attrs} and op.level == "machine")


def far_offsets(unit: Unit, target: Target) -> None:
    """Leave no offset that an instruction cannot hold."""
    for function in unit.functions:
        for block in function.blocks:
            if any(instr.op in _ACCESSES and _is_far(instr) for instr in block.instrs):
                _split(block)


def _is_far(instr: Instr) -> bool:
    base, offset = address_of(instr.args[0], instr.attrs["offset"])
    return not (_LEAST <= offset <= _MOST or (isinstance(base, Instr) and base.op in _PLACED))


def _split(block: Block) -> None:
    parts: dict[tuple[Operand, int], Instr] = {}
    instrs: list[Instr] = []
    for instr in block.instrs:
        if instr.op in _ACCESSES and _is_far(instr):
            base, offset = address_of(instr.args[0], instr.attrs["offset"])
            near = offset % _PART
            part = base, offset - near
            if part not in parts:
                parts[part] = Instr("add", [base, offset - near], instr.args[0].type, {}, instr.line)  # type: ignore[union-attr]
                instrs.append(parts[part])
            instr.args[0] = parts[part]
            instr.attrs = {**instr.attrs, "offset": near}
        instrs.append(instr)
    block.instrs = instrs
