"""The values of several expressions, one after the other: a place may go while those behind it are compiled.

In ``f(entry, m.pop(k))`` the first argument is a place that the second takes away: meanwhile it has a name, so
that it is looked after as the names of the source are.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pybpf.lang.values.memory import references

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["Held", "values_of"]


class Held:
    """A value that is used behind what may change names.

    :param at: the node that it is the value of.
    """

    def __init__(self, gen: Gen, val: Val, at: ast.expr) -> None:
        self._gen = gen
        self._at = at
        self._name = f"{ast.unparse(at)} ({len(gen.frame.env)})"  # none of the source's
        gen.keep(self._name, val, at)

    @property
    def value(self) -> Val:
        """What it is here."""
        found = self._gen.variable(self._name, self._at)
        assert found is not None
        return found

    def done(self) -> None:
        """It is not used any more."""
        frame = self._gen.frame
        frame.env = {name: binding for name, binding in frame.env.items() if name != self._name}


def values_of(gen: Gen, nodes: Sequence[ast.expr]) -> list[Val]:
    """The values of expressions, in their order; those behind a star are spread."""
    values: list[Val] = []
    held: dict[int, Held] = {}
    for number, each in enumerate(nodes):
        if isinstance(each, ast.Starred):
            values += gen.value(each.value).elements(gen, each)
            continue
        value = gen.value(each)
        if any(references(value)) and any(map(_calls, nodes[number + 1 :])):
            held[len(values)] = Held(gen, value, each)
        values.append(value)
    for index, one in held.items():
        values[index] = one.value
        one.done()
    return values


def _calls(node: ast.expr) -> bool:
    return any(isinstance(each, ast.Call) for each in ast.walk(node))
