"""What lies at an address that a probe reads: numbers, pointers, arrays and records, from BTF or from pybpf's types."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Union

from pybpf.btf import BitLoad, Btf, Kind, Member
from pybpf.btf import kinds as btf_kinds
from pybpf.btf.member import find_field
from pybpf.errors import BtfError
from pybpf.record import NamedTuple, dataclass
from pybpf.types import Array, PointerType, Struct, bool_, char, layout, s8, s16, s32, s64, u8, u16, u32, u64

__all__ = [
    "Address", "Elements", "Number", "Opaque", "PlacedShape", "Record", "Shape", "btf_named", "btf_shape",
    "integer", "is_text", "release_types", "type_shape",
]  # fmt: skip

_INTEGERS = {
    (1, False): u8, (2, False): u16, (4, False): u32, (8, False): u64,
    (1, True): s8, (2, True): s16, (4, True): s32, (8, True): s64,
}  # fmt: skip
_COMPOUND = (Kind.STRUCT, Kind.UNION)
#: tags of pointers that no program may follow by itself
_FOREIGN = frozenset({"user", "percpu"})


def integer(size: int, signed: bool) -> Any:
    """The integer type of so many bytes: 1, 2, 4 or 8."""
    return _INTEGERS[size, signed]


@dataclass(frozen=True)
class Number:
    """An integer, enum or bool."""

    kind: Any  #: of :mod:`pybpf.types`; of a bitfield, what its value is kept in
    bits: BitLoad | None = None  #: of a bitfield: its ``offset`` counts from the record's start

    @property
    def size(self) -> int:
        return layout(self.kind).size

    @property
    def title(self) -> str:
        return str(self.kind.__name__)


@dataclass(frozen=True)
class Address:
    """A pointer. What it points to is found when it is followed: records point at each other in circles."""

    source: Btf | None  #: of BTF, else None
    to: Any  #: the id of the type pointed to, or a type of :mod:`pybpf.types`, or the name of one of the kernel's
    user: bool = False  #: into the memory of the process
    foreign: bool = False  #: it is tagged as one that the verifier does not let programs follow by themselves

    size = 8

    @property
    def target(self) -> Shape:
        """What it points to."""
        return btf_shape(self.source, self.to) if self.source is not None else type_shape(self.to)

    @property
    def title(self) -> str:
        to = self.to if isinstance(self.to, str) else self.target.title
        return f"{to} *".replace("* *", "**")

    @property
    def followed(self) -> bool:
        """Whether a program that loads this pointer from typed memory may follow it by itself."""
        return not self.foreign and isinstance(self.target, Record)


@dataclass(frozen=True)
class Elements:
    """An array."""

    element: Shape
    length: int  #: 0: its length is not known

    @property
    def size(self) -> int:
        return self.element.size * self.length

    @property
    def title(self) -> str:
        return f"{self.element.title}[{self.length or ''}]"


class PlacedShape(NamedTuple):
    """A member of a record."""

    offset: int  #: bytes
    shape: Shape


@dataclass(frozen=True)
class Record:
    """A struct or union."""

    source: Btf | None  #: of BTF, else None
    type: Any  #: the id of the type, or the class

    @property
    def size(self) -> int:
        return self.source.size_of(self.type) if self.source is not None else layout(self.type).size

    @property
    def title(self) -> str:
        if self.source is None:
            return f"struct {self.type.__name__}"
        return f"{self.source.kind(self.type).name.lower()} {self.source.name(self.type) or '(anonymous)'}"

    def member(self, name: str) -> PlacedShape | None:
        """The member with a name, those of anonymous members too; None if there is none.

        :raises BtfError: it is of a type that a program cannot read, or the type information is malformed.
        """
        if self.source is not None:
            return _btf_member(self.source, self.type, name)
        field = self.type.__layout__.fields.get(name)
        return PlacedShape(field.offset, type_shape(field.kind)) if field else None

    def names(self) -> list[str]:
        """The names of all members, those of anonymous members too."""
        return list(_btf_names(self.source, self.type)) if self.source is not None else [*self.type.__layout__.fields]


@dataclass(frozen=True)
class Opaque:
    """What cannot be read: void, functions, undefined structs, numbers of other sizes."""

    title: str
    size: int = 0


Shape = Union[Number, Address, Elements, Record, Opaque]


def is_text(shape: Shape) -> bool:
    """Whether it is an array of char."""
    return isinstance(shape, Elements) and isinstance(shape.element, Number) and shape.element.kind is char


# from pybpf's types


def type_shape(kind: Any) -> Shape:
    """What a value of a type of :mod:`pybpf.types` is; ``None`` is void. :raises TypeError: it is no type."""
    if kind is None:
        return Opaque("void")
    if isinstance(kind, type) and issubclass(kind, PointerType):
        return Address(None, kind.to, kind.user)
    if isinstance(kind, type) and issubclass(kind, Struct):
        layout(kind)  # which Struct itself has not
        return Record(None, kind)
    if isinstance(kind, type) and issubclass(kind, Array):
        return Elements(type_shape(kind.element), kind.length)
    kind = {int: s64, bool: bool_}.get(kind, kind)
    layout(kind)  # whether it is one
    return Number(kind)


# from BTF


@lru_cache(maxsize=1024)
def btf_shape(btf: Btf, type_id: int) -> Shape:
    """What a value of a type is. :raises BtfError: the type information is malformed."""
    user, foreign = False, False
    resolved = btf.resolve(type_id)
    kind = btf.type(resolved)
    if isinstance(kind, btf_kinds.Int):
        if kind.is_char:
            return Number(char)
        if kind.encoding & btf_kinds.Encoding.BOOL and kind.size == 1:
            return Number(bool_)
        return _number(kind.name, kind.size, kind.signed)
    if isinstance(kind, (btf_kinds.Enum, btf_kinds.Enum64)):
        return _number(f"enum {kind.name}", kind.size, kind.signed)
    if isinstance(kind, btf_kinds.Ptr):
        tags = _tags(btf, kind.type)
        user, foreign = "user" in tags, not tags.isdisjoint(_FOREIGN)
        return Address(btf, btf.resolve(kind.type), user, foreign)
    if isinstance(kind, btf_kinds.Array):
        element = btf_shape(btf, kind.type)
        return Elements(element, kind.length)
    if isinstance(kind, (btf_kinds.Struct, btf_kinds.Union)):
        return Record(btf, resolved)
    if isinstance(kind, btf_kinds.Fwd):
        return Opaque(f"{'union' if kind.union else 'struct'} {kind.name}, which is not defined")
    if isinstance(kind, btf_kinds.FuncProto):
        return Opaque("function")
    return Opaque(kind.name or type(kind).__name__.lower(), kind.size if isinstance(kind, btf_kinds.Float) else 0)


def btf_named(btf: Btf, text: str) -> Shape:
    """What a type is by its name in C, with a star behind for a pointer: ``"struct sock"``, ``"pid_t"``, ``"char *"``.

    :raises BtfError: there is no such type.
    """
    name = text[:-1].rstrip() if text.endswith("*") else text
    type_id = 0 if name == "void" else btf.named(name)
    return btf_shape(btf, type_id) if name == text else Address(btf, btf.resolve(type_id))


def _number(name: str, size: int, signed: bool) -> Shape:
    return Number(integer(size, signed)) if (size, signed) in _INTEGERS else Opaque(f"{name} of {size} bytes", size)


def _tags(btf: Btf, type_id: int) -> set[str]:
    """The tags on the way from a type to what it is."""
    found = set()
    for _ in range(64):
        kind = btf.type(type_id)
        if isinstance(kind, btf_kinds.TypeTag):
            found.add(kind.name)
        if not isinstance(kind, (btf_kinds.TypeTag, btf_kinds.Const, btf_kinds.Volatile, btf_kinds.Restrict)):
            break
        type_id = kind.type
    return found


@lru_cache(maxsize=4096)
def _btf_member(btf: Btf, record: int, name: str) -> PlacedShape | None:
    field = find_field(btf, record, name)
    if field is None:
        return None
    shape = btf_shape(btf, field.type)
    resolved = btf.type(btf.resolve(field.type))
    offset, bits = field.offset, field.bits
    if isinstance(resolved, btf_kinds.Int) and not bits and (resolved.offset or resolved.bits != 8 * resolved.size):
        offset, bits = offset + resolved.offset, resolved.bits  # bitfields as BTF had them before Linux 5.0
    if not bits:
        return PlacedShape(offset // 8, shape)
    if not isinstance(shape, Number):
        raise BtfError(f"the bitfield {name!r} is of type {shape.title}, which cannot be read")
    signed = getattr(resolved, "signed", False)
    found = btf.bit_load(Member(name, field.type, offset, bits, shape.size, signed, ()))
    return PlacedShape(0, Number(shape.kind, found))


def release_types() -> None:
    """Give back the memory of the kernel's types, when all probes are compiled; later ones read them again."""
    for each in (btf_shape, _btf_member):
        each.cache_clear()
    Btf.release()


def _btf_names(btf: Btf, record: int, depth: int = 8) -> Iterable[str]:
    kind = btf.type(record)
    assert isinstance(kind, (btf_kinds.Struct, btf_kinds.Union))
    for field in kind.members:
        if field.name:
            yield field.name
        elif depth and btf.kind(inner := btf.resolve(field.type)) in _COMPOUND:
            yield from _btf_names(btf, inner, depth - 1)
