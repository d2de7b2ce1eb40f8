"""``args`` of a tracepoint: the fields of the record that the kernel wrote, by name, typed as its format file says."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pybpf.attach.many import is_pattern
from pybpf.errors import BpfError, NotFoundError
from pybpf.lang.probes.fields import DYNAMIC, SYSCALLS, field_shape
from pybpf.lang.values.pointers import Pointer, Rows, Text, value_at
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.shapes import Address, Elements, Shape, is_text
from pybpf.lang.values.val import Val
from pybpf.sys.near import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pybpf.attach.fields import TracepointField
    from pybpf.compiler.target import Target
    from pybpf.lang.front.gen import Gen

__all__ = ["Fields", "SharedFields", "tracepoints_named"]


class Fields(Val):
    """The record of a tracepoint.

    :ivar name: ``"system:event"``.
    """

    steady = True

    def __init__(self, name: str, fields: Mapping[str, TracepointField], where: Where) -> None:
        self.name = name
        self._fields = fields
        self._where = where

    @staticmethod
    def of(gen: Gen, name: str, at: ast.AST) -> Fields:
        """The record that is the program's context. :raises CompileError: the tracepoint is not known."""
        ask = gen.target.tracepoint_fields
        if ask is None:
            gen.fail(at, f"the fields of tracepoint {name} are not known: the target has no format files")
        try:
            fields = {field.name: field for field in ask(name)}
        except NotFoundError as error:
            gen.fail(at, str(error))
        return Fields(name, fields, Where(gen.ctx, direct=gen.ctx))

    @property
    def what(self) -> str:
        return f"the record of tracepoint {self.name}"

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        field = self._fields.get(name)
        if field is None:
            near = did_you_mean(name, self._fields)
            gen.fail(at, f"tracepoint {self.name} has no field {name!r}{near or f'; it has {self._names()}'}")
        for prefix, relative in DYNAMIC.items():
            if field.type.startswith(prefix):
                return self._dynamic(gen, field, field.type[len(prefix) :], relative)
        user = self.name.startswith(f"{SYSCALLS}:")
        where = self._where.moved(field.offset)

        def shape() -> Shape:
            return field_shape(field.type, field.size, field.signed, gen.target.types, user)

        def pointee() -> Shape:
            address = shape()
            assert isinstance(address, Address)
            return address.target

        # The kernel's types take time to read: what a pointer points to is asked when it is followed.
        is_pointer = field.type.rstrip().endswith("*")
        if is_pointer or isinstance(shape(), Address):
            return Pointer(Where(where.load(gen, 8), 0, USER if user else KERNEL), pointee)
        return value_at(gen, where, shape(), at, name)

    @property
    def instead(self) -> str:
        return f"write which field, as in args.{next(iter(self._fields), 'name')}"

    def _names(self) -> str:
        return ", ".join(self._fields) or "none"

    def _dynamic(self, gen: Gen, field: TracepointField, text: str, relative: bool) -> Val:
        """Data behind the fixed fields: the field has its offset in the low 16 bits, its length in the others."""
        place = gen.b.emit("and", self._where.moved(field.offset).load(gen, 4), 0xFFFF)
        base = field.offset + field.size if relative else 0
        there = Where(gen.b.emit("add", self._where.address, place), base)
        shape = field_shape(text, 0, field.signed, gen.target.types)
        if is_text(shape):
            return Text(there, None)
        return Rows(there, shape if isinstance(shape, Elements) else Elements(shape, 0))

    def set_attr(self, gen: Gen, name: str, value: Val, at: ast.AST) -> None:
        gen.fail(at, f"the record of tracepoint {self.name} can be read, not written: keep what changes in a "
                 "variable")  # fmt: skip


class SharedFields(Fields):
    """The record of one of several tracepoints: the fields that are the same in all of them.

    :param others: field -> the first tracepoint that does not have it, or has another one.
    """

    def __init__(
        self, name: str, fields: Mapping[str, TracepointField], where: Where, others: Mapping[str, str]
    ) -> None:
        super().__init__(name, fields, where)
        self._others = others

    @staticmethod
    def of_all(gen: Gen, title: str, names: str | Sequence[str], at: ast.AST) -> SharedFields:
        """The record that is the program's context. :raises CompileError: a tracepoint is not known."""
        try:
            found = tracepoints_named(names, gen.target)
        except BpfError as error:
            gen.fail(at, str(error))
        shared: dict[str, TracepointField] = {}
        others: dict[str, str] = {}
        for index, name in enumerate(found):
            fields = Fields.of(gen, name, at)._fields
            if not index:
                shared = dict(fields)
            for field in [each for each in shared if fields.get(each) != shared[each]]:
                del shared[field]
                others[field] = name
            for field in fields.keys() - shared.keys():
                others.setdefault(field, found[0])
        return SharedFields(title, shared, Where(gen.ctx, direct=gen.ctx), others)

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name in self._others:
            gen.fail(at, f"not all tracepoints of {self.name} have the same field {name!r}: {self._others[name]} does "
                     f"not; all have {self._names()}")  # fmt: skip
        return super().attr(gen, name, at)


def tracepoints_named(names: str | Sequence[str], target: Target) -> list[str]:
    """The tracepoints of a target that patterns match; names without wildcards as they are.

    :raises NotFoundError: nothing matches a pattern.
    """
    found: dict[str, None] = {}
    for pattern in [names] if isinstance(names, str) else names:
        if not is_pattern(pattern):
            found[pattern] = None
            continue
        matching = [name for name in target.tracepoints() if fnmatchcase(name, pattern)]
        if not matching:
            advice = "'pybpf list' shows which there are; those of a described kernel are given as fields="
            raise NotFoundError(f"no tracepoint matches {pattern!r}; {advice}")
        found.update(dict.fromkeys(matching))
    return list(found)
