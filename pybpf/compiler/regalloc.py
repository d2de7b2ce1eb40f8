"""Register allocation: colour the interference graph; what gets no colour goes to the frame, and again.

After Chaitin, and Briggs, Cooper and Torczon, "Improvements to Graph Coloring Register Allocation" (1994): copies
are merged where that cannot cost a colour, colouring is optimistic, and the choice of a colour is biased so that
further copies vanish. Registers whose value is needed behind a call have the four that calls keep to choose from.
"""

from __future__ import annotations

from heapq import heapify, heappop

from pybpf.compiler.interference import CHOICES, Graph, build
from pybpf.compiler.machine import VIRTUAL, MFunction
from pybpf.compiler.order import loop_depths
from pybpf.compiler.spill import Spiller
from pybpf.errors import CompileError

__all__ = ["allocate"]

#: Registers of the machine in the order in which they are tried: arguments first, those that survive calls last.
_PREFERRED = (1, 2, 3, 4, 5, 0, 6, 7, 8, 9)
_NEVER = 1e30
#: Neighbours that are looked at one by one for every copy.
_MANY = 64


def allocate(function: MFunction) -> list[int]:
    """Find a register of the machine for every virtual register.

    :returns: register -> register of the machine. What had to go to the frame has been rewritten in the function.
    :raises CompileError: it cannot be done.
    """
    for block, depth in loop_depths(function.blocks).items():
        block.depth = depth
    spiller = Spiller(function)
    while True:
        graph = build(function)
        for reg in spiller.short:
            graph.cost[reg] = _NEVER
        _merge(graph, spiller.reloaded)
        colours, failed = _colour(graph, _simplify(graph))
        if not failed:
            # a register that does not occur any more has no colour
            return [colours.get(graph.find(reg), -1) if reg >= VIRTUAL else reg for reg in range(function.registers)]
        groups: dict[int, list[int]] = {_victim(graph, reg, function.name): [] for reg in failed}
        for reg in graph.present:
            if graph.find(reg) in groups:
                groups[graph.find(reg)].append(reg)
        spiller.spill(list(groups.values()))


def _victim(graph: Graph, reg: int, name: str) -> int:
    """What goes to the frame because a register could not be coloured: itself, or else its cheapest neighbour."""
    if graph.cost[reg] < _NEVER:
        return reg
    found = min(graph.neighbours[reg], key=lambda each: (graph.cost[each], each), default=reg)
    if graph.cost[found] >= _NEVER:
        raise CompileError(f"function {name} needs more registers at once than there are")
    return found


def _merge(graph: Graph, apart: set[int]) -> None:
    """Merge the ends of copies, the most frequent ones first."""
    found = [
        (-weight, one, other)
        for one in graph.present
        for other, weight in graph.copies[one].items()
        if one < other and one >= VIRTUAL and one not in apart and other not in apart
    ]
    for _, one, other in sorted(found):
        one, other = graph.find(one), graph.find(other)
        if one != other and other not in graph.neighbours[one] and _mergeable(graph, one, other):
            _merged(graph, one, other)


def _mergeable(graph: Graph, one: int, other: int) -> bool:
    """Whether merging cannot cost a colour, by the test that is cheap enough."""
    if len(graph.neighbours[one]) < len(graph.neighbours[other]):
        one, other = other, one
    if len(graph.neighbours[one]) > _MANY:
        return _safe_into(graph, other, one)
    mask = graph.allowed[one] & graph.allowed[other]
    colours = CHOICES[mask]
    if not colours:
        return False
    # Briggs' test: it has fewer neighbours that are hard to colour than it has colours
    hard = 0
    for each in graph.neighbours[one] | graph.neighbours[other]:
        if graph.allowed[each] & mask and graph.hard(each):
            hard += 1
            if hard >= colours:
                return False
    return True


def _safe_into(graph: Graph, small: int, large: int) -> bool:
    """George's test: the neighbours that the larger one would gain are easy to colour."""
    return graph.allowed[large] & ~graph.allowed[small] == 0 and not any(
        graph.hard(each) for each in graph.neighbours[small] - graph.neighbours[large]
    )


def _merged(graph: Graph, one: int, other: int) -> None:
    graph.parent[other] = one
    graph.allowed[one] &= graph.allowed[other]
    graph.cost[one] += graph.cost[other]
    for each in graph.neighbours[other]:
        graph.neighbours[each].discard(other)
        graph.neighbours[each].add(one)
    graph.neighbours[one] |= graph.neighbours[other]
    for each, weight in graph.copies[other].items():
        graph.copies[one][each] = graph.copies[one].get(each, 0.0) + weight


def _simplify(graph: Graph) -> list[int]:
    """The order in which to colour, last first: what surely gets a colour is left for the end."""
    nodes = {reg for reg in graph.present if graph.parent[reg] == reg}
    degree = {reg: graph.degree(reg) for reg in nodes}
    choices = {reg: CHOICES[graph.allowed[reg]] for reg in nodes}
    easy = [reg for reg in sorted(nodes) if degree[reg] < choices[reg]]
    hard = [(graph.cost[reg] / (1 + degree[reg]), reg) for reg in nodes if degree[reg] >= choices[reg]]
    heapify(hard)
    order: list[int] = []
    removed: set[int] = set()
    while easy or hard:
        reg = easy.pop() if easy else heappop(hard)[1]
        if reg in removed:
            continue
        removed.add(reg)
        order.append(reg)
        for each in graph.neighbours[reg]:
            if each not in removed and graph.allowed[each] & graph.allowed[reg]:
                degree[each] -= 1
                if degree[each] == choices[each] - 1:
                    easy.append(each)
    return order


def _colour(graph: Graph, order: list[int]) -> tuple[dict[int, int], list[int]]:
    """Colour in reverse order.

    :returns: colours, and what has got none.
    """
    colours: dict[int, int] = {}
    failed: list[int] = []
    for reg in reversed(order):
        free = graph.allowed[reg]
        for each in graph.neighbours[reg]:
            if each in colours:
                free &= ~(1 << colours[each])
        if not free:
            failed.append(reg)
        else:
            colours[reg] = _choice(graph, reg, free, colours)
    return colours, failed


def _choice(graph: Graph, reg: int, free: int, colours: dict[int, int]) -> int:
    """Of the free colours, the one that makes most copies vanish, here and at neighbours without colour yet."""
    score = {each: 0.0 for each in _PREFERRED if free >> each & 1}
    for other, weight in graph.copies[reg].items():
        colour = other if other < VIRTUAL else colours.get(graph.find(other), -1)
        if colour in score:
            score[colour] += weight
    for each in graph.neighbours[reg]:
        if each not in colours:
            for other, weight in graph.copies[each].items():
                colour = other if other < VIRTUAL else colours.get(graph.find(other), -1)
                if colour in score and graph.allowed[each] >> colour & 1:
                    score[colour] -= weight / 2
    # where a copy's other end has no colour yet, one that it may have
    later = _ALL_BITS
    for other in graph.copies[reg]:
        if other >= VIRTUAL and graph.find(other) not in colours:
            later &= graph.allowed[graph.find(other)]
    return max(score, key=lambda each: score[each] + 0.01 * (later >> each & 1))


_ALL_BITS = (1 << 10) - 1
