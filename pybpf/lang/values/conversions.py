"""Types as values: ``u32``, ``bool``, ``int``: called, they convert; as annotations, they type variables."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import KINDS, Int, convert
from pybpf.lang.values.memory import fitting, loaded_as
from pybpf.lang.values.val import Val
from pybpf.types import bool_, u8

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen

__all__ = ["PointerTypeVal", "TypeVal"]


class TypeVal(Const):
    """An integer type of :mod:`pybpf.types`, ``bool`` or ``int``."""

    __slots__ = ()

    @property
    def what(self) -> str:
        return f"the type {self.value.__name__}"

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        if not isinstance(gen.const(index), int):
            gen.fail(at, f"the length of an array is a constant, not {index.what}")
        return super().item(gen, index, at)

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        if all(isinstance(each, Const) and not isinstance(each.value, type) for each in args) and self.value is int:
            values = [gen.const(each) for each in args]
            return self._computed(gen, at, lambda: int(*values))
        if len(args) != 1 or named:
            gen.fail(at, f"{self.value.__name__}() takes one value, and got {len(args) + len(named)}")
        value = args[0]
        if self.value is int:
            number = value.number(gen, at)
            return Int(number.operand, u8) if number.kind is bool_ else number
        if self.value in (bool, bool_):
            return Const(bool(gen.const(value))) if isinstance(value, Const) else gen.truth(value, at)
        return convert(gen, value, self.value, at)

    def declare(self, gen: Gen, value: Val | None, at: ast.AST) -> Val:
        kind = bool_ if self.value is bool else self.value
        if kind not in KINDS:
            return super().declare(gen, value, at)
        return gen.fitting(value if value is not None else Const(0), kind, at)


class PointerTypeVal(Const):
    """A type of pointer: as an annotation it types a variable, which may be null."""

    __slots__ = ()

    def declare(self, gen: Gen, value: Val | None, at: ast.AST) -> Val:
        return loaded_as(gen, fitting(gen, value if value is not None else Const(None), self.value, at), self.value)
