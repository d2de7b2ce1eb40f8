"""Structs in a probe: their fields in memory, and the call of a Struct class, which writes one where it is wanted."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pybpf.lang.values import raw
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
    loaded_as,
    name_of,
    place,
    read,
    reads,
)
from pybpf.lang.values.val import Val
from pybpf.sys.near import did_you_mean
from pybpf.types import Field, StructLayout

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["MadeStruct", "StructRef", "StructType"]


def _which(kind: Any) -> str:
    """What to write where the struct itself cannot be taken."""
    return f"write which field, as in x.{next(iter(kind.__layout__.fields), 'name')}"


class StructRef(Ref):
    """A struct in memory."""

    @property
    def instead(self) -> str:
        return _which(self.kind)

    def field(self, gen: Gen, name: str, at: ast.AST) -> Ref:
        """The place of a field."""
        found: StructLayout = self.kind.__layout__
        field = found.fields.get(name)
        if field is None:
            self.refuse(gen, at, f"has no field {name!r}{did_you_mean(name, found.fields)}; "
                        f"its fields are {', '.join(found.fields)}")  # fmt: skip
        return self.part(field.offset, field.kind)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        return read(gen, self.field(gen, name, at))

    def set_attr(self, gen: Gen, name: str, value: Val, at: ast.AST) -> None:
        self.field(gen, name, at).put(gen, value, at)

    def add_to_attr(self, gen: Gen, name: str, op: str, value: Val, at: ast.AST) -> None:
        self.field(gen, name, at).add(gen, op, value, at)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        return [read(gen, self.part(field.offset, field.kind)) for field in self.kind.__layout__.fields.values()]

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        number, fields = gen.const(index), list(self.kind.__layout__.fields.values())
        if not isinstance(number, int) or not -len(fields) <= number < len(fields):
            self.refuse(gen, at, f"has fields 0 to {len(fields) - 1}; write the field's name: x.{fields[0].name}")
        return read(gen, self.part(fields[number].offset, fields[number].kind))

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        if op not in ("==", "!=") or (isinstance(other, Const) and other.value is None):
            return super().compare(gen, op, other, at)
        source = place(gen, other, self.kind, at)
        return Test("eq" if op == "==" else "ne", differ(gen, self, source, self.size), 0)


class MadeStruct(Written):
    """A struct with given fields; the others, and all padding, are zero."""

    def __init__(self, kind: Any, fields: Mapping[str, Val], at: ast.AST) -> None:
        self.kind = kind
        self.at = at
        self.fields = fields

    @property
    def instead(self) -> str:
        return _which(self.kind)

    @property
    def clean(self) -> bool:
        return all(value.clean for value in self.fields.values())

    def reads(self) -> Iterator[Ref]:
        return reads(self.fields.values())

    @staticmethod
    def of(gen: Gen, kind: Any, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> MadeStruct:
        """``kind(*args, **named)``. :raises CompileError: fields that do not exist, or twice."""
        found: StructLayout | None = getattr(kind, "__layout__", None)
        if found is None:
            gen.fail(at, f"{kind.__name__} has no fields: declare a class with some, class Pair(Struct), and call that")
        if len(args) > len(found.fields):
            gen.fail(at, f"{kind.__name__} has {len(found.fields)} fields, but {len(args)} values are given")
        given = dict(zip(found.fields, args))
        for name, value in named.items():
            if name not in found.fields:
                gen.fail(at, f"{kind.__name__} has no field {name!r}{did_you_mean(name, found.fields)}; "
                         f"its fields are {', '.join(found.fields)}")  # fmt: skip
            if name in given:
                gen.fail(at, f"{kind.__name__}: the field {name!r} is given twice")
            given[name] = value
        fields = {name: _taken(gen, value, found.fields[name], _named(at, name)) for name, value in given.items()}
        return MadeStruct(kind, fields, at)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if kind is not self.kind:
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}: declare {name_of(self.kind)} for it")
        found: StructLayout = kind.__layout__
        written = 0
        for field in found.fields.values():
            value = self.fields.get(field.name)
            if value is None:
                continue
            raw.clear(gen, address, offset + written, field.offset - written)
            if isinstance(value, Int) and is_integer(field.kind):
                raw.store(gen, address, offset + field.offset, field.layout.size, value.operand)
            else:
                value.store(gen, address, offset + field.offset, field.kind, _named(self.at, field.name))
            written = field.offset + field.layout.size
        raw.clear(gen, address, offset + written, found.size - written)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        return self.fields[name] if name in self.fields else super().attr(gen, name, at)


def _named(at: ast.AST, name: str) -> ast.AST:
    """The node of a field's value in the call that gives it, or the call."""
    return next((each.value for each in getattr(at, "keywords", ()) if each.arg == name), at)


def _taken(gen: Gen, value: Val, field: Field, at: ast.AST) -> Val:
    """A value as the field will hold it, checked now."""
    if is_integer(field.kind):
        return loaded_as(gen, fitting(gen, value, field.kind, at), field.kind)
    return checked(gen, value, field.kind, at)


class StructType(Const):
    """A Struct class: calling it makes one; as an annotation it says what a variable is."""

    __slots__ = ()

    @property
    def what(self) -> str:
        return f"the struct {self.value.__name__}"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        return MadeStruct.of(gen, self.value, args, named, at)

    def declare(self, gen: Gen, value: Val | None, at: ast.AST) -> Val:
        return declared(gen, self.value, value, at)
