"""``Tuple``: values of run time side by side, as ``a, b`` or ``[a, b]`` writes them."""

from __future__ import annotations

import ast
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from pybpf.lang.values.constants import Const, hashable
from pybpf.lang.values.ints import Test, any_of
from pybpf.lang.values.val import Val

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["Tuple"]


class Tuple(Val):
    """A tuple of which a value is not known before run time.

    :ivar values: its elements.
    """

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Val]) -> None:
        self.values = tuple(values)

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]] | None:
        keys: list[Hashable] = []
        operands: list[Operand] = []
        for each in self.values:
            if isinstance(each, Const):
                keys.append((type(each.value), each.value if hashable(each.value) else id(each.value)))
                continue
            state = each.ssa()
            if state is None:
                return None
            keys.append((getattr(each, "kind", None), state[0], len(state[1])))
            operands += state[1]
        return (Tuple, *keys), tuple(operands)

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        left, values = list(operands), []
        for each in self.values:
            state = None if isinstance(each, Const) else each.ssa()
            if state is not None:
                values.append(each.with_ssa(left[: len(state[1])]))
                del left[: len(state[1])]
            else:
                values.append(each)
        return Tuple(values)

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

    def length(self, gen: Gen, at: ast.AST) -> Val:
        return Const(len(self.values))

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
