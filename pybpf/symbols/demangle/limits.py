"""How much work a name may cost: hostile names are given up, never followed to the end."""

from __future__ import annotations

__all__ = ["LONGEST_NAME", "Budget", "NotUnderstood"]

#: characters of a mangled name that is looked at at all
LONGEST_NAME = 1 << 16


class NotUnderstood(Exception):
    """The name is not mangled as the reader knows it, or costs too much; it is printed as it is."""


class Budget:
    """Counts nesting, steps and characters, and gives up at a bound.

    Substitutions can double a text with each use: the text of a short name can be of any length.
    """

    #: nesting; the most among the names of libstdc++, LLVM, Clang and rustc is 28
    DEPTH = 100
    #: nodes that are read, or written; the most among those names is 825
    STEPS = 20_000
    #: characters copied in all, not those of the result; the most among those names is 40,652
    CHARACTERS = 2_000_000

    def __init__(self) -> None:
        self._depth = 0
        self._steps = 0
        self._characters = 0

    def enter(self) -> None:
        """A level deeper, and a step; :meth:`leave` ends the level."""
        self._depth += 1
        self._steps += 1
        if self._depth > self.DEPTH or self._steps > self.STEPS:
            raise NotUnderstood

    def leave(self) -> None:
        self._depth -= 1

    def spend(self, characters: int) -> None:
        self._characters += characters
        if self._characters > self.CHARACTERS:
            raise NotUnderstood
