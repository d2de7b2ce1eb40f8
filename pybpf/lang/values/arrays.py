"""Arrays of anything but ``char`` and ``u8`` in a probe: in memory, and as they are made by ``u64[8](...)``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import gcd
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ir import Instr
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.ints import Int, Test, any_of
from pybpf.lang.values.memory import (
    Ref,
    Written,
    checked,
    declared,
    differ,
    fitting,
    is_integer,
    loaded_as,
    memory_of,
    name_of,
    place,
    read,
    reads,
)
from pybpf.lang.values.val import Val, index_node
from pybpf.types import bool_, sizeof

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["ArrayRef", "ArrayType", "Elements", "MadeArray"]

#: Elements that are compared with a number one after the other rather than in a loop, in which the verifier follows
#: about so many instructions for each.
_COMPARED, _PER_ELEMENT = 32, 30


class Elements:
    """The elements of an array by an index that is constant or not.

    A variable index that is outside of the array reads 0, and writes nothing: the verifier must see bounds, and a probe
    cannot raise. What has parts is then zeros in memory of the function.
    """

    def __init__(self, array: Ref, length: int, kind: Any) -> None:
        self._array = array
        self._length = length
        self._kind = kind
        self._size = sizeof(kind)

    def _sure(self, gen: Gen, index: Val, at: ast.AST) -> Ref | None:
        """The place of an element that is inside in any case, or None."""
        number = gen.const(index)
        if isinstance(number, int):
            if not -self._length <= number < self._length:
                gen.fail(index_node(at), f"{self._array.what} has elements 0 to {self._length - 1}, not {number}")
            return self._array.part(number % self._length * self._size, self._kind)
        operand = gen.b.resolve(index.scalar(gen, index_node(at)))
        if isinstance(operand, Instr) and operand.op == "and":  # in a form that every verifier understands
            mask = operand.args[1]
            if isinstance(mask, int) and 0 <= mask < self._length:
                return self.inside(gen, operand)
        return None

    def inside(self, gen: Gen, index: Operand) -> Ref:
        """The place of an element whose index is known to be inside."""
        array = self._array
        address = gen.b.emit("element", array.address, index, size=self._size)
        entry = array.entry and array.entry._replace(whole=False)
        return Ref.of(address, array.offset, self._kind, array.space, gcd(array.align, self._size), entry, array.guard)

    def get(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        """``array[index]``"""
        place = self._sure(gen, index, at)
        if place is not None:
            return read(gen, place)
        operand = index.scalar(gen, at)
        if is_integer(self._kind):
            value = Choice(gen.b, 0)
            with when(gen.b, "ult", operand, self._length, "inside"):
                value.set(read(gen, self.inside(gen, operand)).scalar(gen, at))
            return Int(value.value, self._kind)
        return self._part(gen, operand, at)

    def _part(self, gen: Gen, index: Operand, at: ast.AST) -> Ref:
        """The place of an element that has parts, or of zeros."""
        b, nothing = gen.b, memory_of(gen, self._kind, at, "outside")
        inside, outside, done = (b.new_block(name) for name in ("inside", "outside", "element"))
        address, guard = Choice(b, nothing.address), Choice(b, 0)
        b.branch("ult", index, self._length, inside, outside)
        b.seal(inside)
        b.start(inside)
        place = self.inside(gen, index)
        address.set(place.pointer(gen))
        guard.set(1 if place.guard is None else place.guard)
        b.jump(done)
        b.seal(outside)
        b.start(outside)
        nothing.clear(gen)
        b.jump(done)
        b.seal(done)
        b.start(done)
        align = gcd(place.align, place.offset)
        return Ref.of(address.value, 0, self._kind, place.space, align, place.entry, guard.value)

    def change(self, gen: Gen, index: Val, change: Callable[[Ref], None], at: ast.AST) -> None:
        """``array[index] = ...``: do something with the element, if it is there."""
        place = self._sure(gen, index, at)
        if place is not None:
            change(place)
            return
        operand = index.scalar(gen, at)
        with when(gen.b, "ult", operand, self._length, "inside"):
            change(self.inside(gen, operand))


class ArrayRef(Ref):
    """An array in memory."""

    instead = "write which element, as in x[0]"

    @property
    def _elements(self) -> Elements:
        return Elements(self, self.kind.length, self.kind.element)

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        return self._elements.get(gen, index, at)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        self._elements.change(gen, index, lambda place: place.put(gen, value, at), at)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        self._elements.change(gen, index, lambda place: place.add(gen, op, value, at), at)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return [self.item(gen, Const(number), at) for number in range(self.kind.length)]

    def length(self, gen: Gen, at: ast.AST) -> Val:
        return Const(self.kind.length)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        length, element = self.kind.length, self.kind.element
        if not is_integer(element):
            return super().contains(gen, item, at)
        if length <= _COMPARED:
            return any_of(gen, [each.compare(gen, "==", item, at) for each in self.elements(gen, at)], at)
        b, found = gen.b, Choice(gen.b, 0)

        def turn(number: Operand, leave: Block) -> None:
            value = read(gen, self._elements.inside(gen, number))
            with when(b, "ne", value.compare(gen, "==", item, at).scalar(gen, at), 0, "found"):
                found.set(1)
            more = b.new_block("more")
            b.branch("eq", found.value, 0, more, leave)
            b.seal(more)
            b.start(more)

        gen.repeat(at, length, _PER_ELEMENT, turn, f"searching {self.what}")
        return Int(found.value, bool_)

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
            return MadeArray(kind, [loaded_as(gen, fitting(gen, each, inner, at), inner) for each in items])
        return MadeArray(kind, [checked(gen, each, inner, at) for each in items])

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if kind is not self.kind:
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}: declare {name_of(self.kind)} for it")
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
