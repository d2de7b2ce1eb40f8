"""Decide branches by those before: a pointer is checked for null once, and no comparison is made a second time."""

from __future__ import annotations

from pybpf.compiler.flow import Dominators, drop_unreachable, remove_edge
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import NEGATED
from pybpf.compiler.scopes import Scopes
from pybpf.compiler.target import Target

__all__ = ["checks"]


def checks(unit: Unit, target: Target) -> None:
    """Turn branches whose comparison is known into jumps."""
    for function in unit.functions:
        _decide(function)


def _comparison(instr: Instr) -> tuple[str, Operand, Operand]:
    left, right = instr.args
    return instr.attrs["cond"], left, right


def _decide(function: Function) -> None:
    scopes: Scopes[bool] = Scopes(Dominators(function))
    decided: list[tuple[Block, bool]] = []
    for block in scopes.walk():
        if len(block.predecessors) == 1:
            [before] = block.predecessors
            if before.end.op == "branch" and before.successors[0] is not before.successors[1]:
                cond, left, right = _comparison(before.end)
                held = before.successors[0] is block
                scopes.set((cond, left, right), held)
                scopes.set((NEGATED[cond], left, right), not held)
        if block.end.op == "branch":
            known = scopes.get(_comparison(block.end))
            if known is not None:
                decided.append((block, known))
    for block, holds in decided:
        lost = 1 if holds else 0
        remove_edge(block, block.successors[lost], lost)
        block.end.op, block.end.args, block.end.attrs = "jump", [], {}
    if decided:
        drop_unreachable(function)
