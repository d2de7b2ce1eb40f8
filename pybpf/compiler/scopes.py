"""Facts that hold in a block and in all that it dominates: a dictionary that forgets on the way back up the tree."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from pybpf.compiler.flow import Dominators
from pybpf.compiler.ir import Block

__all__ = ["Scopes"]

_T = TypeVar("_T")


class Scopes(Generic[_T]):
    """A walk down the tree of dominators; what is set in a block is known below it only."""

    def __init__(self, dominators: Dominators) -> None:
        self._dominators = dominators
        self._known: dict[Hashable, _T] = {}
        self._undo: list[list[tuple[Hashable, _T | None]]] = []

    def walk(self) -> Iterator[Block]:
        """Every block after the one that is its parent."""
        stack: list[tuple[Block, bool]] = [(self._dominators.order[0], False)]
        while stack:
            block, leave = stack.pop()
            if leave:
                self._forget()
                continue
            self._undo.append([])
            yield block
            stack.append((block, True))
            stack += [(child, False) for child in reversed(self._dominators.children[block])]

    def _forget(self) -> None:
        for key, before in reversed(self._undo.pop()):
            if before is None:
                del self._known[key]
            else:
                self._known[key] = before

    def get(self, key: Hashable) -> _T | None:
        """What is known of the key here."""
        return self._known.get(key)

    def set(self, key: Hashable, value: _T) -> None:
        """Know it from here on, downwards."""
        self._undo[-1].append((key, self._known.get(key)))
        self._known[key] = value
