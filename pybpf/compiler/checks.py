"""Decide branches by those before: a pointer is checked for null once, and no comparison is made a second time.

Where ways meet and part again at once, by a comparison that each of them has decided (a value that is missing or not,
tested again by who asked for it), each goes straight on.
"""

from __future__ import annotations

from pybpf.compiler.flow import Dominators, drop_unreachable, remove_edge
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import NEGATED
from pybpf.compiler.scopes import Scopes
from pybpf.compiler.ssa import Variables
from pybpf.compiler.target import Target

__all__ = ["checks"]


#: (block, predecessor) -> whether the comparison that ends the block holds, coming from there
_Decided = dict[tuple[Block, Block], bool]


def checks(unit: Unit, target: Target) -> None:
    """Turn branches whose comparison is known into jumps, and go around those that are known on each way."""
    for function in unit.functions:
        _thread(function, _decide(function))


def _comparison(instr: Instr) -> tuple[str, Operand, Operand]:
    left, right = instr.args
    return instr.attrs["cond"], left, right


def _decide(function: Function) -> _Decided:
    scopes: Scopes[bool] = Scopes(Dominators(function))
    decided: list[tuple[Block, bool]] = []
    on_edges: _Decided = {}
    for block in scopes.walk():
        if len(block.predecessors) == 1:
            [before] = block.predecessors
            if before.end.op == "branch" and before.successors[0] is not before.successors[1]:
                cond, left, right = _comparison(before.end)
                held = before.successors[0] is block
                scopes.set((cond, left, right), held)
                scopes.set((NEGATED[cond], left, right), not held)
        for target in block.successors:
            known = _known_behind(block, target, scopes)
            if known is not None:
                on_edges[target, block] = known
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
    return on_edges


def _known_behind(block: Block, target: Block, scopes: Scopes[bool]) -> bool | None:
    """Whether the comparison at the end of ``target`` holds, if that is known where ``block`` ends."""
    if target.end.op != "branch":
        return None
    cond, left, right = _comparison(target.end)
    if isinstance(left, Instr) and left in tuple(target.phis):  # what it is, coming from there
        left = left.args[target.predecessors.index(block)]
        if isinstance(left, int) and isinstance(right, int) and cond in ("eq", "ne"):
            return (left == right) is (cond == "eq")
    if block.end.op == "branch" and block.end.args == [left, right] and block.successors[0] is not block.successors[1]:
        held = block.successors[0] is target
        for same, holds in ((cond, held), (NEGATED[cond], not held)):
            if block.end.attrs["cond"] == same:
                return holds
    return scopes.get((cond, left, right))


def _can_thread(block: Block, on_edges: _Decided) -> bool:
    phis = set(block.phis)
    return (
        bool(block.predecessors)
        and block.end.op == "branch"
        and len(block.instrs) == len(phis) + 1
        and block.end.args[1] not in phis
        and len(set(block.predecessors)) == len(block.predecessors)
        and all((block, before) in on_edges for before in block.predecessors)
        and block.successors[0] is not block.successors[1]
    )


def _thread(function: Function, on_edges: _Decided) -> None:
    """Let the ways into a block go where each has decided to; its phis become phis of the blocks that follow."""
    variables = Variables()
    gone: set[Block] = set()
    moved: set[Operand] = set()
    for block in function.blocks[1:]:
        if _can_thread(block, on_edges):
            gone.add(block)
            moved.update(block.phis)
            function.blocks += _split_edges(block)
            _go_around(block, on_edges, variables)
    if not gone:
        return
    function.blocks = [block for block in function.blocks if block not in gone]
    drop_unreachable(function)
    for block in function.blocks:
        variables.seal(block)
    for block in function.blocks:
        for instr in block.instrs:
            places = block.predecessors if instr.op == "phi" else [block] * len(instr.args)
            instr.args = [variables.read(arg, place) if arg in moved else arg for arg, place in zip(instr.args, places)]
    variables.finish(function)


def _split_edges(block: Block) -> list[Block]:
    """Give a block successors that only it leads to: new ones, where others lead there too."""
    made: list[Block] = []
    for way, target in enumerate(block.successors):
        if target.predecessors != [block] or target.instrs[0].op == "phi":
            between = Block(f"{block.name}_{target.name}")
            between.instrs = [Instr("jump", [], "", {}, block.end.line)]
            between.predecessors, between.successors = [block], [target]
            target.predecessors[target.predecessors.index(block)] = between
            block.successors[way] = between
            made.append(between)
    return made


def _go_around(block: Block, on_edges: _Decided, variables: Variables) -> None:
    ways = block.predecessors
    for target in block.successors:
        target.predecessors = []
    for before in ways:
        target = block.successors[0 if on_edges[block, before] else 1]
        before.successors[before.successors.index(block)] = target
        target.predecessors.append(before)
    for target in block.successors:
        for phi in reversed(list(block.phis)):
            args = [phi.args[ways.index(before)] for before in target.predecessors]
            there = Instr("phi", args, phi.type, {}, phi.line)
            target.instrs.insert(0, there)
            variables.write(phi, target, there)
    block.predecessors, block.successors = [], []
