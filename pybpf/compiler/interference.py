"""Which virtual registers cannot share a register of the machine, and which would like to."""

from __future__ import annotations

from pybpf.compiler.liveness import live_out, registers
from pybpf.compiler.machine import CLOBBERED, REGISTERS, VIRTUAL, Copies, MFunction, SetCond

__all__ = ["CHOICES", "Graph", "build"]

_CLOBBERED = sum(1 << reg for reg in CLOBBERED)
_ALL = sum(1 << reg for reg in REGISTERS)

#: Set of registers of the machine, as bits -> how many these are.
CHOICES = [bin(mask).count("1") for mask in range(_ALL + 1)]


class Graph:
    """The interference graph. Every table is indexed by register; those that were merged share one entry.

    :ivar neighbours: virtual registers that are needed at the same time.
    :ivar allowed: a bit for each register of the machine that it may have.
    :ivar cost: what keeping it in the frame would cost: accesses, weighted by the depth of loops.
    :ivar copies: the other ends of copies, with their weights.
    :ivar parent: what a register was merged into, or itself.
    :ivar present: the virtual registers that occur.
    """

    def __init__(self, registers: int) -> None:
        self.neighbours: list[set[int]] = [set() for _ in range(registers)]
        self.allowed = [_ALL] * registers
        self.cost = [0.0] * registers
        self.copies: list[dict[int, float]] = [{} for _ in range(registers)]
        self.parent = list(range(registers))
        self.present: set[int] = set()

    def find(self, reg: int) -> int:
        """The register that stands for a register."""
        while self.parent[reg] != reg:
            self.parent[reg] = reg = self.parent[self.parent[reg]]
        return reg

    def degree(self, reg: int) -> int:
        """How many neighbours could take a register that this one may have."""
        mask = self.allowed[reg]
        return sum(1 for each in self.neighbours[reg] if self.allowed[each] & mask)

    def hard(self, reg: int) -> bool:
        """Whether its neighbours may leave it without a colour."""
        return len(self.neighbours[reg]) >= CHOICES[self.allowed[reg]]

    def clash(self, reg: int, others: set[int]) -> None:
        """A register is set while others are needed."""
        if reg < VIRTUAL:
            bit = ~(1 << reg)
            for other in others:
                if other >= VIRTUAL:
                    self.allowed[other] &= bit
            return
        for other in others:
            if other == reg:
                continue
            if other < VIRTUAL:
                self.allowed[reg] &= ~(1 << other)
            else:
                self.neighbours[reg].add(other)
                self.neighbours[other].add(reg)

    def copied(self, one: int, other: int, weight: float) -> None:
        """A copy would vanish if both had one register."""
        self.copies[one][other] = self.copies[one].get(other, 0.0) + weight
        self.copies[other][one] = self.copies[other].get(one, 0.0) + weight


def build(function: MFunction) -> Graph:
    """The graph of a function; its copies learn what is needed behind them."""
    graph = Graph(function.registers)
    behind = live_out(function, registers)
    for block in function.blocks:
        weight = 10.0 ** min(block.depth, 6)
        live = set(behind[block])
        for item in reversed(block.items):
            if isinstance(item, Copies):
                _copies(graph, item, live, weight)
            for reg in item.reads + item.writes:
                graph.cost[reg] += weight
                graph.present.add(reg)
            if isinstance(item, Copies):
                continue
            live.difference_update(item.writes)
            if item.is_call:
                for reg in live:
                    graph.allowed[reg] &= ~_CLOBBERED
            for reg in item.writes:
                graph.clash(reg, live)
            if isinstance(item, SetCond):
                graph.clash(item.result, set(item.reads))
            live.update(item.reads)
    graph.present = {reg for reg in graph.present if reg >= VIRTUAL}
    return graph


def _copies(graph: Graph, item: Copies, live: set[int], weight: float) -> None:
    if any(place not in live for place in item.writes):  # nobody needs it
        item.set([pair for pair in item.pairs if pair[0] in live or not isinstance(pair[0], int)])
    item.live = tuple(live)
    for place, source in item.pairs:
        if not isinstance(place, int):
            continue
        if isinstance(source, int):
            # both hold the same value here, so that they may share a register
            kept = source in live
            live.discard(source)
            graph.clash(place, live)
            if kept:
                live.add(source)
            graph.copied(place, source, weight)
        else:
            graph.clash(place, live)
    live.difference_update(item.writes)
    live.update(item.reads)
