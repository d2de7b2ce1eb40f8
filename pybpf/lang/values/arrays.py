"""Arrays of anything but ``char`` and ``u8`` in a probe: in memory, and as they are made by ``u64[8](...)``."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ir import Instr
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, Test
from pybpf.lang.values.memory import (
    Ref,
    Written,
    checked,
    declared,
    differ,
    fitting,
    is_integer,
    name_of,
    place,
    read,
    reads,
)
from pybpf.lang.values.val import Val, index_node
from pybpf.types import sizeof

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["ArrayRef", "ArrayType", "MadeArray", "element"]


def element(gen: Gen, array: Ref, index: Val, length: int, kind: Any, at: ast.AST) -> Ref:
    """The place of element ``index`` of an array.

    A variable index that is outside of the array means its last element: the verifier must see bounds, and a probe
    cannot raise.
    """
    size = sizeof(kind)
    number = gen.const(index)
    if isinstance(number, int):
        if not -length <= number < length:
            gen.fail(index_node(at), f"{array.what} has elements 0 to {length - 1}, not {number}")
        return array.part(number % length * size, kind)
    bounded = _bounded(gen, index.scalar(gen, index_node(at)), length)
    address = gen.b.emit("add", array.address, bounded if size == 1 else gen.b.emit("mul", bounded, size))
    return Ref.of(address, array.offset, kind, array.space, gcd(array.align, size))


def _bounded(gen: Gen, index: Operand, length: int) -> Operand:
    """An index below ``length``, in a form that every verifier understands."""
    if isinstance(index, Instr) and index.op == "and":
        mask = index.args[1]
        if isinstance(mask, int) and 0 <= mask < length:
            return index
    b, key = gen.b, object()
    inside, done = b.new_block("inside"), b.new_block("bounded")
    b.write(key, length - 1)
    b.branch("ult", index, length, inside, done)
    b.seal(inside)
    b.start(inside)
    b.write(key, index)
    b.jump(done)
    b.seal(done)
    b.start(done)
    return b.read(key)


class ArrayRef(Ref):
    """An array in memory."""

    def _element(self, gen: Gen, index: Val, at: ast.AST) -> Ref:
        return element(gen, self, index, self.kind.length, self.kind.element, at)

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        return read(gen, self._element(gen, index, at))

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        self._element(gen, index, at).put(gen, value, at)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        self._element(gen, index, at).add(gen, op, value, at)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return [self.item(gen, Const(number), at) for number in range(self.kind.length)]

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if op not in ("==", "!=") or (isinstance(other, Const) and other.value is None):
            return super().compare(gen, op, other, at)
        source = place(gen, other, self.kind, at)
        return Test("eq" if op == "==" else "ne", differ(gen, self, source, self.size), 0)


class MadeArray(Written):
    """An array of given elements."""

    def __init__(self, kind: Any, items: Sequence[Val]) -> None:
        self.kind = kind
        self.items = items

    @property
    def clean(self) -> bool:
        return all(value.clean for value in self.items)

    def reads(self) -> Iterator[Ref]:
        return reads(self.items)

    @staticmethod
    def of(gen: Gen, kind: Any, items: Sequence[Val], at: ast.AST) -> MadeArray:
        """:raises CompileError: not as many items as the array has, or some that do not fit."""
        if len(items) != kind.length:
            gen.fail(at, f"{name_of(kind)} has {kind.length} elements, but {len(items)} values are given")
        inner = kind.element
        if is_integer(inner):
            return MadeArray(kind, [Int(fitting(gen, each, inner, at), inner) for each in items])
        return MadeArray(kind, [checked(gen, each, inner, at) for each in items])

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if kind is not self.kind:
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}")
        size = sizeof(kind.element)
        for number, value in enumerate(self.items):
            value.store(gen, address, offset + number * size, kind.element, at)


class ArrayType(Const):
    """An array type: ``u64[8]()`` is an array of zeros; as an annotation it says what a variable is."""

    __slots__ = ()

    @property
    def what(self) -> str:
        return f"the type {name_of(self.value)}"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        if named or len(args) > 1:
            gen.fail(at, f"{name_of(self.value)}() takes one value at most: what the array holds")
        return declared(gen, self.value, args[0] if args else None, at)

    def declare(self, gen: Gen, value: Val | None, at: ast.AST) -> Val:
        return declared(gen, self.value, value, at)
