"""Orders of the blocks of a function, and how deep in loops each is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["Node", "loop_depths", "postorder"]


class Node(Protocol):
    """A block, of whatever representation."""

    @property
    def successors(self) -> Sequence[Node]: ...


N = TypeVar("N", bound=Node)


def postorder(entry: N) -> list[N]:
    """The blocks that can be reached, each behind its successors, unless an edge leads back to it."""
    found: list[N] = []
    seen: set[Node] = {entry}
    # the first successor is visited last, so that it comes right behind its block in the reverse
    stack: list[tuple[N, Iterator[Node]]] = [(entry, iter(entry.successors[::-1]))]
    while stack:
        block, rest = stack[-1]
        for successor in rest:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(successor.successors[::-1])))  # type: ignore[arg-type]
                break
        else:
            found.append(block)
            stack.pop()
    return found


def loop_depths(blocks: Sequence[N]) -> dict[N, int]:
    """How many loops each block is in.

    :param blocks: the reachable blocks in reverse postorder.
    """
    place = {block: index for index, block in enumerate(blocks)}
    predecessors: dict[Node, list[N]] = {block: [] for block in blocks}
    latches: dict[Node, list[N]] = {}
    for block in blocks:
        for successor in block.successors:
            predecessors[successor].append(block)
            if place[successor] <= place[block]:  # type: ignore[index]
                latches.setdefault(successor, []).append(block)
    depths = dict.fromkeys(blocks, 0)
    for header, work in latches.items():
        body: set[Node] = {header}
        while work:
            block = work.pop()
            if block not in body:
                body.add(block)
                work += predecessors[block]
        for each in body:
            depths[each] += 1  # type: ignore[index]
    return depths
