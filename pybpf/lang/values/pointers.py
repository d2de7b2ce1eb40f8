"""Memory of the kernel and of processes as values: pointers, records, arrays, text; read when they are used."""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from pybpf.errors import BtfError
from pybpf.lang.front.annotations import known_address
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, Test
from pybpf.lang.values.memory import Written, is_integer, name_of, place
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.shapes import Address, Elements, Number, Opaque, Record, Shape, is_text
from pybpf.lang.values.val import Val
from pybpf.sys.near import did_you_mean
from pybpf.types import Array, PointerType, Struct, array_of, bool_, char, layout, s8, s64, u8, u64
from pybpf.types.layout import IntLayout

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["Place", "Pointer", "Row", "Rows", "Text", "pointer_at", "value_at"]

#: elements that unpacking or a loop without an index reads one by one
_MOST_ELEMENTS = 64
#: names that a message lists
_MOST_NAMES = 12
_CONDITIONS = {"<": "ult", "<=": "ule", ">": "ugt", ">=": "uge", "==": "eq", "!=": "ne", "is": "eq", "is not": "ne"}


def value_at(gen: Gen, where: Where, shape: Shape, at: ast.AST, name: str) -> Val:
    """The value of what lies at a place: numbers and pointers are read, all else is read when it is used.

    :param name: what it is called, for messages.
    """
    if isinstance(shape, Number):
        return _number(gen, where, shape)
    if isinstance(shape, Address):
        shape = known_address(gen, shape, at)
        return Pointer(where.follow(gen, shape.user, shape.followed), shape.target)
    if isinstance(shape, Elements):
        return Row(where, shape) if isinstance(shape.element, Number) and shape.length else Rows(where, shape)
    if isinstance(shape, Record):
        return Place(where, shape)
    gen.fail(at, f"{name!r} is a {shape.title}: a probe cannot read that")


def pointer_at(gen: Gen, address: Operand, kind: type[PointerType]) -> Pointer:
    """The pointer that a field, an element or a value of a map keeps."""
    shape = known_address(gen, Address(None, kind.to, kind.user), gen.frame.source.node)
    return Pointer(Where(address, 0, USER if kind.user else KERNEL), shape.target)


def _number(gen: Gen, where: Where, shape: Number) -> Int:
    kind = u8 if shape.kind is char else shape.kind
    bits = shape.bits
    if bits is None:
        found = layout(kind)
        return Int(where.load(gen, found.size, isinstance(found, IntLayout) and found.signed), kind)
    loaded = where.moved(bits.offset).load(gen, bits.size)
    if not bits.signed and bits.left == bits.right:  # it is the low bits
        return Int(gen.b.emit("and", loaded, (1 << (64 - bits.right)) - 1), kind)
    shifted = gen.b.emit("shl", loaded, bits.left) if bits.left else loaded
    return Int(gen.b.emit("ashr" if bits.signed else "lshr", shifted, bits.right), kind)


def _member(gen: Gen, where: Where, record: Record, name: str, at: ast.AST) -> Val:
    try:
        found = record.member(name)
    except BtfError as error:
        gen.fail(at, str(error))
    if found is None:
        names = record.names()
        shown = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
        gen.fail(at, f"{record.title} has no member {name!r}{did_you_mean(name, names) or f'; it has {shown}'}")
    return value_at(gen, where.moved(found.offset), found.shape, at, name)


def _element(gen: Gen, where: Where, shape: Elements, index: Val, at: ast.AST, what: str) -> Val:
    number = gen.const(index)
    if isinstance(number, int):
        if shape.length and not -shape.length <= number < shape.length:
            gen.fail(at, f"the index {number} is outside of {what}, which has elements 0 to {shape.length - 1}")
        if number < 0:
            if not shape.length:
                gen.fail(at, f"{what} has no known length: count from its start, not from its end")
            number += shape.length
        there = where.moved(number * shape.element.size)
    else:
        there = where.indexed(gen, index.scalar(gen, at), shape.element.size, shape.length)
    return value_at(gen, there, shape.element, at, "element")


def _refuse_writing(gen: Gen, where: Where, at: ast.AST) -> None:
    whose = "the traced process" if where.space == USER else "the kernel"
    gen.fail(at, f"this is memory of {whose}: a probe can read it, not write it")


class _Foreign(Val):
    """What is in memory of the kernel or of a process."""

    where: Where

    def set_attr(self, gen: Gen, name: str, value: Val, at: ast.AST) -> None:
        _refuse_writing(gen, self.where, at)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        _refuse_writing(gen, self.where, at)

    def add_to_attr(self, gen: Gen, name: str, op: str, value: Val, at: ast.AST) -> None:
        _refuse_writing(gen, self.where, at)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        _refuse_writing(gen, self.where, at)


def _where_ssa(where: Where) -> tuple[Hashable, tuple[Operand, ...]]:
    operands = (where.address,) if where.direct is None else (where.address, where.direct)
    return where._replace(address=0, direct=None), operands


def _where_with(where: Where, operands: Sequence[Operand]) -> Where:
    return where._replace(address=operands[0], direct=operands[1] if len(operands) > 1 else None)


class Pointer(_Foreign):
    """An address and what is there: of the kernel or of a process.

    :param where: what it points to.
    :param shape: of that; or what finds it out, for pointers that few follow: it may take the kernel's types.
    """

    _SIZE = 8

    def __init__(self, where: Where, shape: Shape | Callable[[], Shape]) -> None:
        self.where = where
        self._shape = shape

    @property
    def shape(self) -> Shape:
        """Of what it points to."""
        if callable(self._shape):
            self._shape = self._shape()
        return self._shape

    @property
    def what(self) -> str:
        return f"a pointer to {self.shape.title}"

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        key, operands = _where_ssa(self.where)
        return (Pointer, self.shape, key, len(operands)), operands

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return Pointer(_where_with(self.where, operands), self.shape)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if isinstance(self.shape, Record):
            return _member(gen, self.where, self.shape, name, at)
        if isinstance(self.shape, Address):
            advice = "take what it points to first, by [0]"
        elif isinstance(self.shape, Opaque):
            advice = "say what is there, by cast(\"struct NAME\", pointer)"
        else:
            advice = "take what it points to by [0]"
        self.refuse(gen, at, f"has no members; {advice}")

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        if isinstance(self.shape, Opaque) or not self.shape.size:
            self.refuse(gen, at, "cannot be indexed; say what is there, by cast(\"struct NAME\", pointer)")
        return _element(gen, self.where, Elements(self.shape, 0), index, at, self.what)

    def _tested(self, gen: Gen) -> Operand:
        """What a comparison with None compares: the verifier follows that of the pointer that loads go through."""
        where = self.where
        return where.number(gen) if where.direct is None or where.offset else where.direct

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if isinstance(other, Const) and (other.value is None or isinstance(other.value, str)):
            if other.value is None and op in ("is", "is not", "==", "!="):
                return Test(_CONDITIONS[op], self._tested(gen), 0)
            read = "read_user_str" if self.where.space == USER else "read_kernel_str"
            self.refuse(gen, at, f"is not text; read what is there by {read}(pointer)")
        return Test(_CONDITIONS[op], self.where.number(gen), other.scalar(gen, at))

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        gen.b.branch("ne", self._tested(gen), 0, yes, no)

    def scalar(self, gen: Gen, at: ast.AST) -> Operand:
        return self.where.number(gen)

    def number(self, gen: Gen, at: ast.AST) -> Int:
        address = self.where.number(gen)
        return Int(gen.b.emit("number", address) if self.where.typed else address, u64)

    def binary(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        self.refuse(gen, at, f"does not support {op!r}: write pointer[n] for what is n elements on, or u64(pointer) "
                    "to compute with the address")  # fmt: skip

    def check_kept(self, gen: Gen, kind: Any, at: ast.AST) -> None:
        at = gen.given(at)
        if isinstance(kind, type) and issubclass(kind, PointerType):
            there = known_address(gen, Address(None, kind.to, kind.user), at).target
            if (self.where.space == USER) is not kind.user or there not in (self.shape, Opaque("void")):
                whose = "process" if self.where.space == USER else "kernel"
                self.refuse(gen, at, f"of the {whose} cannot be kept as {name_of(kind)}: say what is there by "
                            f"cast({name_of(kind)}, pointer), or declare another pointer")  # fmt: skip
        elif kind not in (u64, s64, bool_):
            names = self.shape.names() if isinstance(self.shape, Record) else []
            member = f", or keep a member of what is there: pointer.{names[0]}" if names else ""
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}: declare a u64 for the address{member}")

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if layout(kind).size != self._SIZE or not is_integer(kind):
            read = f"what is there is read_{self.where.space}(pointer)" if isinstance(self.shape, Record) else ""
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; {read or 'an address takes a u64'}")
        self.check_kept(gen, kind, at)
        gen.b.emit("store", address, self.where.number(gen), offset=offset, size=8)


class Place(_Foreign):
    """A struct or union in memory."""

    def __init__(self, where: Where, shape: Record) -> None:
        self.where = where
        self.shape = shape

    @property
    def what(self) -> str:
        return f"a {self.shape.title}"

    @property
    def instead(self) -> str:
        return f"write which member, as in x.{self._example()}"

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        key, operands = _where_ssa(self.where)
        return (Place, self.shape, key, len(operands)), operands

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return Place(_where_with(self.where, operands), self.shape)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        return _member(gen, self.where, self.shape, name, at)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        self.refuse(gen, at, "is compared member by member: write which")

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        """As a Struct each of whose fields is called as a member is."""
        if not (isinstance(kind, type) and issubclass(kind, Struct)):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; write which member: x.{self._example()}")
        if self.shape.source is None and self.shape.type is kind:
            self.where.copy(gen, address, offset, layout(kind).size)
            return
        gen.b.emit("zero", address, offset=offset, size=layout(kind).size)
        for field in kind.__layout__.fields.values():
            self.attr(gen, field.name, at).store(gen, address, offset + field.offset, field.kind, at)

    def _example(self) -> str:
        return next(iter(self.shape.names()), "member")


class Row(Written, _Foreign):
    """An array of numbers in memory; of char, it is text that ends at the first NUL."""

    def __init__(self, where: Where, shape: Elements) -> None:
        assert isinstance(shape.element, Number)
        self.where = where
        self.shape = shape
        self.text = is_text(shape)
        self.kind = array_of(shape.element.kind, shape.length)
        self.is_clean = not self.text

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        key, operands = _where_ssa(self.where)
        return (Row, self.shape, key, len(operands)), operands

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return Row(_where_with(self.where, operands), self.shape)

    def kept(self, gen: Gen) -> Val:
        return place(gen, self, self.kind, ast.Pass()) if self.text else self

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        if isinstance(gen.const(index), slice):
            return place(gen, self, self.kind, at).item(gen, index, at)
        return _element(gen, self.where, self.shape, index, at, self.what)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return _elements(gen, self, at)

    def length(self, gen: Gen, at: ast.AST) -> Val:
        return super().length(gen, at) if self.text else Const(self.shape.length)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        return place(gen, self, self.kind, at).compare(gen, op, other, at)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        return place(gen, self, self.kind, at).contains(gen, item, at)

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        place(gen, self, self.kind, at).branch(gen, yes, no, at)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if not (isinstance(kind, type) and issubclass(kind, Array)):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}: declare {name_of(self.kind)} for it")
        assert isinstance(self.shape.element, Number)
        if self.text and kind.element is char:
            self.where.copy_text(gen, address, offset, min(kind.length, self.shape.length))
            return
        if layout(kind.element).size != self.shape.element.size or kind.length > self.shape.length:
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}: it has {self.shape.size} bytes")
        self.where.copy(gen, address, offset, layout(kind).size)


class Rows(_Foreign):
    """An array of records, pointers or arrays in memory, or one whose length is not known."""

    instead = "write which element, as in x[0]"

    def __init__(self, where: Where, shape: Elements) -> None:
        self.where = where
        self.shape = shape

    @property
    def what(self) -> str:
        return f"a {self.shape.title}"

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        key, operands = _where_ssa(self.where)
        return (Rows, self.shape, key, len(operands)), operands

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return Rows(_where_with(self.where, operands), self.shape)

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        return _element(gen, self.where, self.shape, index, at, self.what)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return _elements(gen, self, at)

    def length(self, gen: Gen, at: ast.AST) -> Val:
        if not self.shape.length:
            self.refuse(gen, at, "has no length that is known: what is beside it says how many elements it has")
        return Const(self.shape.length)


def _elements(gen: Gen, array: Row | Rows, at: ast.AST) -> Sequence[Val]:
    length = array.shape.length
    if not 0 < length <= _MOST_ELEMENTS:
        array.refuse(gen, at, "cannot be gone through at once; write 'for i in range(n):' and x[i]")
    return [_element(gen, array.where, array.shape, Const(index), at, array.what) for index in range(length)]


class Text(Written):
    """Text behind a pointer, up to its NUL.

    :ivar most: its longest length in bytes, NUL included; None: what the place where it is written to has.
    """

    is_clean = False
    #: bytes of a variable for text of which no length is said
    DEFAULT = 256

    def __init__(self, where: Where, most: int | None) -> None:
        self.where = where
        self.most = most
        self.kind = array_of(char, most or self.DEFAULT)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if not (isinstance(kind, type) and issubclass(kind, Array) and kind.element in (char, u8, s8)):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; text takes a char[N]")
        self.where.copy_text(gen, address, offset, min(kind.length, self.most or kind.length))
