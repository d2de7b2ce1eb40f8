"""Control flow of a function: the order of its blocks, dominators, and edges that come and go."""

from __future__ import annotations

from collections.abc import Iterator

from pybpf.compiler.ir import Block, Function, Instr, Operand

__all__ = ["Dominators", "drop_unreachable", "remove_edge", "replace_values", "reverse_postorder"]


def reverse_postorder(function: Function) -> list[Block]:
    """The blocks that can be reached, each before its successors but for the back edges of loops."""
    entry = function.blocks[0]
    order: list[Block] = []
    seen = {entry}
    stack: list[tuple[Block, Iterator[Block]]] = [(entry, reversed(entry.successors))]
    while stack:
        block, successors = stack[-1]
        following = next((each for each in successors if each not in seen), None)
        if following is None:
            order.append(block)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, reversed(following.successors)))
    order.reverse()
    return order


class Dominators:
    """Which blocks every way to a block passes.

    The algorithm is that of Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001). Predecessors
    are looked at from the deepest up, which keeps a block with many predecessors, such as a common exit, linear.

    :ivar order: the reachable blocks in reverse postorder.
    :ivar parent: block -> the last other block that every way to it passes; the entry has none.
    :ivar children: block -> the blocks that have it as parent.
    """

    def __init__(self, function: Function) -> None:
        self.order = reverse_postorder(function)
        self._at = {block: number for number, block in enumerate(self.order)}
        parents = self._parents()
        self.parent: dict[Block, Block] = {
            block: self.order[parent] for block, parent in zip(self.order[1:], parents[1:])
        }
        self.children: dict[Block, list[Block]] = {block: [] for block in self.order}
        for block, parent in self.parent.items():
            self.children[parent].append(block)
        self._first: dict[Block, int] = {}
        self._last: dict[Block, int] = {}
        self._number()

    def _parents(self) -> list[int]:
        parents = [0] + [-1] * (len(self.order) - 1)
        before = [
            sorted({self._at[each] for each in block.predecessors if each in self._at}, reverse=True)
            for block in self.order
        ]
        changed = True
        while changed:
            changed = False
            for number in range(1, len(parents)):
                found = -1
                for each in before[number]:
                    if parents[each] < 0:
                        continue
                    if found < 0:
                        found = each
                    while found != each:
                        if found > each:
                            found = parents[found]
                        else:
                            each = parents[each]
                if found != parents[number]:
                    parents[number] = found
                    changed = True
        return parents

    def _number(self) -> None:
        """Number the tree so that a subtree is a range."""
        stack = [(self.order[0], False)]
        while stack:
            block, left = stack.pop()
            if left:
                self._last[block] = len(self._first)
            else:
                self._first[block] = len(self._first)
                stack.append((block, True))
                stack += [(child, False) for child in reversed(self.children[block])]

    def dominates(self, above: Block, below: Block) -> bool:
        """Whether every way to ``below`` passes ``above``; a block dominates itself."""
        return self._first[above] <= self._first[below] < self._last[above]

    def preorder(self) -> list[Block]:
        """The reachable blocks, each after its parent, subtrees together."""
        return sorted(self.order, key=self._first.__getitem__)


def remove_edge(block: Block, target: Block, position: int) -> None:
    """Take away ``block.successors[position]``, which is ``target``, and what phis of ``target`` have for it."""
    del block.successors[position]
    at = target.predecessors.index(block)
    del target.predecessors[at]
    for phi in target.phis:
        del phi.args[at]


def drop_unreachable(function: Function) -> bool:
    """Remove the blocks that nothing reaches; whether there were any."""
    reachable = set(reverse_postorder(function))
    if len(reachable) == len(function.blocks):
        return False
    for block in function.blocks:
        kept = [each in reachable for each in block.predecessors]
        if block in reachable and not all(kept):
            for phi in block.phis:
                phi.args = [arg for arg, keep in zip(phi.args, kept) if keep]
            block.predecessors = [each for each, keep in zip(block.predecessors, kept) if keep]
    function.blocks = [block for block in function.blocks if block in reachable]
    return True


def replace_values(function: Function, replaced: dict[Instr, Operand]) -> None:
    """Point every operand at what has taken its place, along chains, and drop the instructions that were replaced."""
    if not replaced:
        return
    for instr in list(replaced):
        chain = [instr]
        value = replaced[instr]
        while isinstance(value, Instr) and value in replaced:
            chain.append(value)
            value = replaced[value]
        for each in chain:
            replaced[each] = value
    for block in function.blocks:
        block.instrs = [instr for instr in block.instrs if instr not in replaced]
        for instr in block.instrs:
            instr.args = [replaced.get(arg, arg) if isinstance(arg, Instr) else arg for arg in instr.args]
