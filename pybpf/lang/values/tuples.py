"""``Tuple``: values of run time side by side, as ``a, b`` or ``[a, b]`` writes them."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Test, any_of
from pybpf.lang.values.val import Val

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen

__all__ = ["Tuple"]


class Tuple(Val):
    """A tuple of which a value is not known before run time.

    :ivar values: its elements.
    """

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Val]) -> None:
        self.values = tuple(values)

    def bound(self, gen: Gen, at: ast.AST) -> Val:
        return Tuple([each.bound(gen, at) for each in self.values])

    @property
    def what(self) -> str:
        return f"a tuple of {len(self.values)}"

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        number = gen.const(index)
        if isinstance(number, slice):
            return Tuple(self.values[number])
        if not isinstance(number, int):
            self.refuse(gen, at, "can be indexed by a constant only: keep the values in an array")
        if not -len(self.values) <= number < len(self.values):
            gen.fail(at, f"index {number} is outside of a tuple of {len(self.values)}")
        return self.values[number]

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return self.values

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        return any_of(gen, [item.compare(gen, "==", each, at) for each in self.values], at)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if op not in ("==", "!="):
            super().compare(gen, op, other, at)
        others = other.elements(gen, at)
        if len(others) != len(self.values):
            return Const(op == "!=")
        differ = any_of(gen, [one.compare(gen, "!=", two, at) for one, two in zip(self.values, others)], at)
        if op == "!=":
            return differ
        return differ.negated() if isinstance(differ, Test) else Const(not gen.const(differ))

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        gen.b.jump(yes if self.values else no)
