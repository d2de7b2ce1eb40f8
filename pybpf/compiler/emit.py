"""Write an allocated function out: copies become moves, blocks get an order and labels, edges become jumps."""

from __future__ import annotations

from collections.abc import Callable

from pybpf.asm import Insn, Item, Label
from pybpf.asm.opcodes import JUMPS
from pybpf.compiler.copies import sequence
from pybpf.compiler.frame import SpillFrame
from pybpf.compiler.machine import Copies, MBlock, MFunction
from pybpf.compiler.order import postorder

__all__ = ["emit"]

_GOTO = 0x05
_OPPOSITE = {
    JUMPS[one][0]: JUMPS[other][0]
    for pair in (("jeq", "jne"), ("jgt", "jle"), ("jge", "jlt"), ("jsgt", "jsle"), ("jsge", "jslt"))
    for one, other in (pair, pair[::-1])
}


class _Node:
    """A block of final instructions."""

    __slots__ = ("insns", "jump", "name", "successors")

    def __init__(self, name: str, insns: list[Insn], jump: Insn | None) -> None:
        self.name = name
        self.insns = insns
        self.jump = jump
        self.successors: list[_Node] = []


def emit(function: MFunction, colours: list[int], frame: SpillFrame, label: Callable[[str], str]) -> list[Item]:
    """The items of a function, without a label for its beginning.

    :param colours: register -> register of the machine.
    :param frame: where spills are; it grows by what moves need.
    :param label: the name of a block -> a label that is used nowhere else.
    """
    nodes = {block: _node(block, colours, frame) for block in function.blocks}
    for block, node in nodes.items():
        node.successors = [nodes[each] for each in block.successors]
    entry = nodes[function.blocks[0]]
    _skip_empty(list(nodes.values()))
    order = postorder(entry)[::-1]
    return _written(order, label)


def _node(block: MBlock, colours: list[int], frame: SpillFrame) -> _Node:
    insns: list[Insn] = []
    for item in block.items:
        if not isinstance(item, Copies):
            insns += item.insns(colours)
            continue
        pairs = [
            (
                colours[place] if isinstance(place, int) else place,
                colours[source] if isinstance(source, int) else source,
            )
            for place, source in item.pairs
        ]
        busy = {colours[reg] for reg in item.live}
        for move in sequence(pairs, busy, frame):
            move.line = item.line
            insns += move.insns(_SAME)
    jump = insns.pop() if len(block.successors) == 2 else None
    return _Node(block.name, insns, jump)


#: Registers of the machine, each its own.
_SAME = list(range(11))


def _skip_empty(nodes: list[_Node]) -> None:
    """Let edges to blocks without instructions lead to where these go on."""
    for node in nodes:
        for way, target in enumerate(node.successors):
            seen = {node}
            while not target.insns and len(target.successors) == 1 and target not in seen:
                seen.add(target)
                target = target.successors[0]
            node.successors[way] = target
        if len(node.successors) == 2 and node.successors[0] is node.successors[1]:
            node.jump = None
            del node.successors[1]


def _written(order: list[_Node], label: Callable[[str], str]) -> list[Item]:
    following = dict(zip(order, order[1:]))
    labels: dict[_Node, str] = {}

    def aim(node: _Node) -> str:
        if node not in labels:
            labels[node] = label(node.name)
        return labels[node]

    ends = {node: _end(node, following.get(node), aim) for node in order}
    items: list[Item] = []
    for node in order:
        if node in labels:
            items.append(Label(labels[node]))
        items += node.insns
        items += ends[node]
    return items


def _end(node: _Node, following: _Node | None, aim: Callable[[_Node], str]) -> list[Insn]:
    """The jumps at the end of a block, given the block that comes next."""
    if not node.successors:
        return []
    line = node.insns[-1].line if node.insns else None
    if node.jump is None:
        target = node.successors[0]
        return [] if target is following else [Insn(_GOTO, ref=aim(target), line=line)]
    taken, otherwise = node.successors
    jump = node.jump
    if taken is following and jump.code & 0xF0 in _OPPOSITE:
        jump = jump._replace(code=jump.code & 0x0F | _OPPOSITE[jump.code & 0xF0])
        taken, otherwise = otherwise, taken
    ends = [jump._replace(ref=aim(taken))]
    if otherwise is not following:
        ends.append(Insn(_GOTO, ref=aim(otherwise), line=jump.line))
    return ends
