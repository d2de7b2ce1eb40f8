"""``args`` of a tracepoint: the fields of the record that the kernel wrote, by name, typed as its format file says."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.attach.many import is_pattern
from pybpf.errors import BpfError, BtfError, NotFoundError
from pybpf.lang.values.pointers import Pointer, Rows, Text, value_at
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.shapes import Address, Elements, Number, Opaque, Shape, btf_named, integer, is_text
from pybpf.lang.values.val import Val
from pybpf.sys.near import did_you_mean
from pybpf.types import bool_, char, u8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pybpf.attach.fields import TracepointField
    from pybpf.btf import Btf
    from pybpf.compiler.target import Target
    from pybpf.lang.front.gen import Gen

__all__ = ["DYNAMIC", "SYSCALLS", "Fields", "SharedFields", "field_shape", "tracepoints_named"]

#: the group of tracepoints whose pointers are those that a process gave to a system call
SYSCALLS = "syscalls"
_QUALIFIERS = re.compile(r"\b(?:const|volatile|__user|__rcu|__percpu|__seg_gs|__seg_fs)\b")
_ARRAY = re.compile(r"(.*)\[(\d*)\]")
#: where dynamic data is: counted from the record's start, or from the end of the field that says it
DYNAMIC = MappingProxyType({"__data_loc ": False, "__rel_loc ": True})
#: types that C knows by itself -> bytes, signed; all others are typedefs, which BTF knows
_PLAIN = MappingProxyType({
    "char": (1, False), "signed char": (1, True), "unsigned char": (1, False), "short": (2, True),
    "unsigned short": (2, False), "int": (4, True), "unsigned": (4, False), "unsigned int": (4, False),
    "long": (8, True), "unsigned long": (8, False), "long long": (8, True), "unsigned long long": (8, False),
    "pid_t": (4, True), "uid_t": (4, False), "gid_t": (4, False), "umode_t": (2, False), "dev_t": (4, False),
    "u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False), "size_t": (8, False),
    "s8": (1, True), "s16": (2, True), "s32": (4, True), "s64": (8, True), "ssize_t": (8, True),
})  # fmt: skip


def field_shape(
    text: str, size: int, signed: bool, types: Callable[[], Btf | None], user: bool = False
) -> Shape:
    """What a field is by its C type, as a format file writes it.

    Fields of system calls take 8 bytes each, whatever their type: an ``int`` there is the first four.

    :param size: bytes of the field.
    :param signed: as the format file says, of which little is to be believed where the type is known.
    :param types: gives the kernel's types; asked where C alone does not say it, for reading them takes time.
    :param user: pointers are those of the process.
    """
    text = " ".join(_QUALIFIERS.sub(" ", text).split())
    array = _ARRAY.fullmatch(text)
    if array is not None:
        count = int(array[2] or 0)
        element = field_shape(array[1].strip(), size // count if count else 0, signed, types, user)
        return Elements(element, count)
    if text.endswith("*"):
        return Address(*_pointee(text[:-1].strip(), types), user=user)
    if text == "bool":
        return Number(bool_)
    if text == "char" and size <= 1:
        return Number(char)
    plain = _PLAIN.get(text)
    found = types() if plain is None else None
    if found is not None:
        try:
            known = btf_named(found, text)
        except BtfError:
            known = Opaque(text)
        if isinstance(known, (Number, Address)) and known.size <= (size or known.size):
            return known
    if plain is not None and plain[0] <= (size or 8):
        return Number(integer(*plain))
    if size in (1, 2, 4, 8):
        return Number(integer(size, signed))
    return Elements(Number(u8), size) if size else Opaque(text)


def _pointee(text: str, types: Callable[[], Btf | None]) -> tuple[Btf | None, object]:
    """What a pointer to a type refers to: the ``source`` and ``to`` of an :class:`Address`."""
    if text == "char":
        return None, char
    found = types() if text not in ("void", "") and not text.endswith("*") else None
    if found is not None:
        try:
            return found, found.resolve(found.named(text))
        except BtfError:
            pass
    return None, None


class Fields(Val):
    """The record of a tracepoint.

    :ivar name: ``"system:event"``.
    """

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
        gen.fail(at, f"the record of tracepoint {self.name} can be read, not written")


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
