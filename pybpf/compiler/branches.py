"""Simplify control flow: jumps through empty blocks, branches on phis of constants, blocks that could be one."""

from __future__ import annotations

from pybpf.compiler.constants import COMPARE
from pybpf.compiler.flow import drop_unreachable, remove_edge, replace_values
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.target import Target

__all__ = ["branches"]


def branches(unit: Unit, target: Target) -> None:
    """Leave fewer and longer blocks."""
    for function in unit.functions:
        _thread(function)
        _skip_empty(function)
        _merge(function)
        drop_unreachable(function)


def _move_edge(before: Block, old: Block, new: Block, values: list[Operand]) -> None:
    """Let ``before`` go to ``new`` instead of ``old``; ``values`` are those of the phis of ``new``."""
    position = before.successors.index(old)
    at = old.predecessors.index(before)
    del old.predecessors[at]
    for phi in old.phis:
        del phi.args[at]
    before.successors[position] = new
    new.predecessors.append(before)
    for phi, value in zip(new.phis, values):
        phi.args.append(value)
    if before.end.op == "branch" and before.successors[0] is before.successors[1]:
        remove_edge(before, new, 1)
        before.end.op, before.end.args, before.end.attrs = "jump", [], {}


def _may_move(before: Block, new: Block, values: list[Operand]) -> bool:
    """Two edges between the same blocks must bring the same values."""
    if before not in new.predecessors:
        return True
    at = new.predecessors.index(before)
    return all(phi.args[at] == value for phi, value in zip(new.phis, values))


def _skip_empty(function: Function) -> None:
    """Let the predecessors of a block that only jumps jump where it does."""
    for block in function.blocks[1:]:
        if len(block.instrs) != 1 or block.end.op != "jump":
            continue
        [target] = block.successors
        if target is block:
            continue
        at = target.predecessors.index(block)
        values = [phi.args[at] for phi in target.phis]
        for before in list(block.predecessors):
            if before in block.predecessors and _may_move(before, target, values):
                _move_edge(before, block, target, values)
        if not block.predecessors:
            _leave(block)
    drop_unreachable(function)


def _leave(block: Block) -> None:
    """Take away the edges of a block that nothing reaches."""
    while block.successors:
        remove_edge(block, block.successors[-1], len(block.successors) - 1)


def _thread(function: Function) -> None:
    """Let a predecessor that brings a constant to a block that only branches on it go on where that leads."""
    outside = _used_outside(function)
    for block in function.blocks[1:]:
        phis = list(block.phis)
        end = block.end
        if not phis or len(phis) + 1 != len(block.instrs) or end.op != "branch" or outside & set(phis):
            continue
        if block in block.successors:
            continue
        for before in list(block.predecessors):
            if before not in block.predecessors:
                continue
            at = block.predecessors.index(before)
            brought: dict[Operand, Operand] = {phi: phi.args[at] for phi in phis}
            left, right = (brought.get(arg, arg) for arg in end.args)
            if not isinstance(left, int) or not isinstance(right, int):
                continue
            new = block.successors[0 if COMPARE[end.attrs["cond"]](left, right) else 1]
            there = new.predecessors.index(block)
            values = [brought.get(phi.args[there], phi.args[there]) for phi in new.phis]
            if _may_move(before, new, values):
                _move_edge(before, block, new, values)
        if not block.predecessors:
            _leave(block)
    drop_unreachable(function)


def _used_outside(function: Function) -> set[Instr]:
    """The phis that are used elsewhere than at the end of their block and on the edges from it."""
    home = {phi: block for block in function.blocks for phi in block.phis}
    used = set()
    for block in function.blocks:
        for instr in block.instrs:
            places = block.predecessors if instr.op == "phi" else [block] * len(instr.args)
            for arg, place in zip(instr.args, places):
                if isinstance(arg, Instr) and arg.op == "phi" and home[arg] is not place:
                    used.add(arg)
    return used


def _merge(function: Function) -> None:
    """Append to a block the one that only it jumps to."""
    replaced: dict[Instr, Operand] = {}
    gone: set[Block] = set()
    for block in function.blocks:
        if block in gone:
            continue
        while block.end.op == "jump":
            [following] = block.successors
            if len(following.predecessors) != 1 or following is block or following is function.blocks[0]:
                break
            for phi in following.phis:
                replaced[phi] = phi.args[0]
            block.instrs.pop()
            block.instrs += [instr for instr in following.instrs if instr.op != "phi"]
            block.successors = following.successors
            for target in block.successors:
                target.predecessors = [block if each is following else each for each in target.predecessors]
            following.successors, following.predecessors = [], []
            gone.add(following)
    function.blocks = [block for block in function.blocks if block not in gone]
    replace_values(function, replaced)
