"""Functions of Python itself that a probe may call: ``len``, ``min``, ``range``, ``zip``, ...; one table."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.builtins.printing import PrintVal
from pybpf.lang.front.conditions import choose
from pybpf.lang.front.ranges import make_range
from pybpf.lang.front.sequences import SEQUENCES
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Test

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["CALLABLES"]


class _Callable(Const):
    """A function of Python that has a meaning of its own in probes."""

    __slots__ = ("compile_call",)

    def __init__(self, value: Any, compile_call: Callable[[Gen, Sequence[Val], ast.AST], Val]) -> None:
        super().__init__(value)
        self.compile_call = compile_call

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        if self.value is not range and all(isinstance(each, Const) for each in args):
            return super().call(gen, args, named, at)
        if named:
            name = self.value.__name__
            gen.fail(at, f"{name}() takes no named arguments in a probe: write {name}(a, b)")
        return self.compile_call(gen, args, at)


class _Sequences(Const):
    """A function of Python that makes a sequence of sequences."""

    __slots__ = ()

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        return SEQUENCES[self.value](gen, args, named, at)


def _len(gen: Gen, args: Sequence[Val], at: ast.AST) -> Val:
    if len(args) != 1:
        gen.fail(at, f"len() takes one value, and got {len(args)}")
    return args[0].length(gen, at)


def _abs(gen: Gen, args: Sequence[Val], at: ast.AST) -> Val:
    if len(args) != 1:
        gen.fail(at, f"abs() takes one value, and got {len(args)}")
    number = args[0].number(gen, at)
    if not number.signed:
        return number
    return choose(gen, Test("slt", number.operand, 0), number.unary(gen, "-", at), number, at)


def _extreme(op: str) -> Callable[[Gen, Sequence[Val], ast.AST], Val]:
    def compile_call(gen: Gen, args: Sequence[Val], at: ast.AST) -> Val:
        values = args[0].elements(gen, at) if len(args) == 1 else args
        if not values:
            gen.fail(at, "min() and max() take at least one value")
        best = values[0]
        for each in values[1:]:
            best = choose(gen, each.compare(gen, op, best, at), each, best, at)
        return best

    return compile_call


CALLABLES: Mapping[Any, Val] = MappingProxyType({
    print: PrintVal(),
    **{function: _Sequences(function) for function in SEQUENCES},
    **{function: _Callable(function, compile_call)
    for function, compile_call in (
        (abs, _abs), (len, _len), (max, _extreme(">")), (min, _extreme("<")), (range, make_range),
    )},
})  # fmt: skip
