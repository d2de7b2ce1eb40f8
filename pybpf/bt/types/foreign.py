"""Types of C as types of the language: those of the kernel, of tracepoint records, of the script's own definitions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pybpf.bt.c.types import BASIC, CArray, CBasic, CCompound, CEnum, CForeign, CMember, CPointer, CType, size_of
from pybpf.bt.types.types import BOOL, INT8, Array, Bool, Compound, Integer, Member, Nothing, Pointer, String, Type
from pybpf.btf import BitLoad, Btf
from pybpf.btf import kinds as btf_kinds
from pybpf.errors import BtfError
from pybpf.lang.values.shapes import Address, Elements, Number, Record, Shape, btf_shape
from pybpf.record import dataclass
from pybpf.types import bool_, char, layout
from pybpf.types.layout import IntLayout

__all__ = ["BtfCompound", "CStruct", "of_btf", "of_c", "of_shape", "to_c"]


@dataclass(frozen=True)
class BtfCompound(Compound):
    """A struct or union of the kernel."""

    source: Btf
    type_id: int

    @property
    def size(self) -> int:
        return self.source.size_of(self.type_id)

    @property
    def name(self) -> str:
        return f"{self.source.kind(self.type_id).name.lower()} {self.source.name(self.type_id)}".rstrip()

    def member(self, name: str) -> Member | None:
        found = Record(self.source, self.type_id).member(name)
        if found is None:
            return None
        field = btf_field(self.source, self.type_id, name)
        kind = of_btf(self.source, field) if field is not None else of_shape(found.shape)
        bits = found.shape.bits if isinstance(found.shape, Number) else None
        if bits is None:
            return Member(name, found.offset, kind)
        return Member(name, bits.offset, kind, bits)

    def names(self) -> list[str]:
        return Record(self.source, self.type_id).names()


def btf_field(source: Btf, record: int, name: str) -> int | None:
    """The id of the type of a member."""
    from pybpf.btf.member import find_field

    field = find_field(source, record, name)
    return None if field is None else field.type


@lru_cache(maxsize=4096)
def of_btf(source: Btf, type_id: int) -> Type:
    """A type of the kernel; enumerations keep the names of their values."""
    kind = source.type(source.resolve(type_id))
    if isinstance(kind, (btf_kinds.Enum, btf_kinds.Enum64)):
        names = tuple((each.value, each.name) for each in kind.values)
        return Integer(kind.size, kind.signed, enum=names, title=f"enum {kind.name}".rstrip())
    return of_shape(btf_shape(source, type_id))


def of_shape(shape: Shape, space: str = "") -> Type:
    """What lies at an address.

    :param space: of pointers that say nothing themselves.
    """
    if isinstance(shape, Number):
        return _number(shape.kind)
    if isinstance(shape, Address):
        return Pointer(of_shape(shape.target, space), "user" if shape.user else space)
    if isinstance(shape, Elements):
        if isinstance(shape.element, Number) and shape.element.kind is char and shape.length:
            return String(shape.length)
        return Array(of_shape(shape.element, space), shape.length)
    if isinstance(shape, Record) and shape.source is not None:
        return BtfCompound(shape.source, shape.type)
    return Nothing()


def _number(kind: Any) -> Type:
    if kind is bool_:
        return BOOL
    if kind is char:
        return INT8
    found = layout(kind)
    assert isinstance(found, IntLayout)
    return Integer(found.size, found.signed)


@dataclass(frozen=True, eq=False)
class CStruct(Compound):
    """A struct or union that the script defines."""

    found: CCompound

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CStruct) and other.found is self.found

    def __hash__(self) -> int:
        return id(self.found)

    @property
    def size(self) -> int:
        return self.found.size

    @property
    def name(self) -> str:
        return f"{self.found.keyword} {self.found.name}".rstrip()

    def member(self, name: str) -> Member | None:
        found = self.found.member(name)
        return None if found is None else _c_member(found)

    def names(self) -> list[str]:
        return [member.name for member in self.found.flat()]


def _c_member(found: CMember) -> Member:
    kind = of_c(found.type)
    if not found.bit_size:
        return Member(found.name, found.offset, kind)
    size = size_of(found.type)
    start = found.bit_offset // (8 * size) * size
    first = found.bit_offset - 8 * start
    if first + found.bit_size > 8 * size:  # a packed bit-field that crosses a boundary of its type
        start, first = found.bit_offset // 8, found.bit_offset % 8
        size = next(each for each in (1, 2, 4, 8) if first + found.bit_size <= 8 * each)
    left = 64 - first - found.bit_size
    signed = isinstance(kind, Integer) and kind.signed
    return Member(found.name, start, kind, BitLoad(start, size, left, 64 - found.bit_size, signed))


def of_c(found: CType) -> Type:
    """A type of the script's C definitions."""
    if isinstance(found, CBasic):
        if found.name == "_Bool":
            return BOOL
        return Integer(found.size, found.signed) if found.size in (1, 2, 4, 8) and not found.real else Nothing()
    if isinstance(found, CEnum):
        names = tuple((value, name) for name, value in found.values.items())
        return Integer(found.size, found.signed, enum=names, title=f"enum {found.name}".rstrip())
    if isinstance(found, CPointer):
        return Pointer(of_c(found.target))
    if isinstance(found, CArray):
        item = found.item
        if isinstance(item, CBasic) and item.name == "char" and found.length:
            return String(found.length)
        return Array(of_c(item), found.length)
    if isinstance(found, CForeign):
        assert isinstance(found.known, Type)
        return found.known
    return CStruct(found) if isinstance(found, CCompound) else Nothing()


def to_c(source: Btf, name: str) -> CType | None:
    """A type of the kernel as C definitions of a script use it: ``"struct sock"``, ``"pid_t"``; None: there is none."""
    try:
        type_id = source.resolve(source.named(name))
        known = of_btf(source, type_id)
    except BtfError:
        return None
    if isinstance(known, BtfCompound):
        keyword, _, plain = known.name.partition(" ")
        return CForeign(keyword, plain, (), known.size, source.align_of(type_id), True, known)
    if isinstance(known, Integer):
        if known.enum:
            return CEnum(plain_name(name), {each: value for value, each in known.enum}, known.width, known.signed)
        kind = {1: "char", 2: "short", 4: "int", 8: "long"}[known.width]
        return BASIC[kind if known.signed else f"unsigned {kind}"]
    if isinstance(known, Bool):
        return BASIC["_Bool"]
    return CPointer(BASIC["void"]) if isinstance(known, Pointer) else None


def plain_name(name: str) -> str:
    """The name of a type without its keyword."""
    return name.rpartition(" ")[2]
