"""Sink: a field of the context is loaded where it is needed, not before a call or a test that comes first.

The context is there all the time: kept in one register over calls, it takes the place of all that is loaded from it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pybpf.compiler.cse import read_only_context
from pybpf.compiler.flow import Dominators
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit
from pybpf.compiler.ops import INT
from pybpf.compiler.order import loop_depths
from pybpf.compiler.target import Target

__all__ = ["sink"]


def sink(unit: Unit, target: Target) -> None:
    """Sink loads of the context of a unit's program."""
    function = unit.functions[0]
    context = read_only_context(function)
    if context:
        _Sinking(function, context).run()


class _Sinking:
    """The work on one function.

    :ivar calls: block -> positions of its calls, which values live over at a cost.
    """

    def __init__(self, function: Function, context: set[Instr]) -> None:
        self.context = context
        self.dominators = Dominators(function)
        self.depths = loop_depths(self.dominators.order)
        self.calls = {
            block: [at for at, instr in enumerate(block.instrs) if instr.info.effect == "writes" and instr.type]
            for block in self.dominators.order
        }

    def run(self) -> None:
        users = self._users()
        moves: dict[Instr, Block] = {}
        others: set[Instr] = set()
        for block in self.dominators.order:
            for at, instr in enumerate(block.instrs):
                if self.context.isdisjoint(instr.args):
                    continue
                into = self._home(block, at, users.get(instr, ())) if self._is_load(instr) else None
                if into is not None:
                    moves[instr] = into
                elif block is not self.dominators.order[0] or any(call <= at for call in self.calls[block]):
                    others.add(instr)
        # one load alone would only keep the context in the place of its value
        if moves and len(moves) + len(others) > 1:
            self._move(moves)

    def _is_load(self, instr: Instr) -> bool:
        return instr.op == "load" and instr.type == INT

    def _users(self) -> dict[Instr, list[tuple[Block, int]]]:
        """Load of the context -> where it is used: the block, and the position in it."""
        found: dict[Instr, list[tuple[Block, int]]] = {}
        for block in self.dominators.order:
            for at, instr in enumerate(block.instrs):
                for number, arg in enumerate(instr.args):
                    if isinstance(arg, Instr) and self._is_load(arg):
                        place = (block, at)
                        if instr.op == "phi":
                            before = block.predecessors[number]
                            place = before, len(before.instrs) - 1
                        found.setdefault(arg, []).append(place)
        return found

    def _home(self, block: Block, at: int, uses: Iterable[tuple[Block, int]]) -> Block | None:
        """The block to load in, right before the first use there; ``None``: the load stays where it is."""
        into: Block | None = None
        for used, _ in uses:
            into = used if into is None else self._common(into, used)
        if into is None:
            return None
        while self.depths[into] > self.depths[block]:
            into = self.dominators.parent[into]
        if into is not block:
            return into
        first = min((position for used, position in uses if used is block), default=len(block.instrs) - 1)
        return block if any(at < call < first for call in self.calls[block]) else None

    def _common(self, one: Block, other: Block) -> Block:
        """The last block that every way to either passes."""
        while not self.dominators.dominates(one, other):
            one = self.dominators.parent[one]
        return one

    def _move(self, moves: dict[Instr, Block]) -> None:
        waiting: dict[Block, dict[Instr, None]] = {}
        for load, block in moves.items():
            waiting.setdefault(block, {})[load] = None
        for block in self.dominators.order:
            here = waiting.get(block, {})
            out: list[Instr] = []
            for instr in block.instrs:
                if instr in moves:
                    continue
                if instr.op != "phi":
                    for arg in list(here) if instr is block.end else _asked(instr.args, here):
                        del here[arg]
                        out.append(arg)
                out.append(instr)
            block.instrs = out


def _asked(args: list[Operand], here: dict[Instr, None]) -> list[Instr]:
    return list(dict.fromkeys(arg for arg in args if isinstance(arg, Instr) and arg in here))
