"""Types: a class for each sort, immutable; equal types are equal objects, so that a fixed point can be seen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from pybpf.record import NamedTuple, dataclass
from pybpf.types import Struct, array_of, bool_, char, layout, s8, s16, s32, s64, u8, u16, u32, u64
from pybpf.types.scalars import ElementType

if TYPE_CHECKING:
    from pybpf.btf import BitLoad

__all__ = [
    "BOOL", "INT8", "INT16", "INT32", "INT64", "NONE", "UINT8", "UINT16", "UINT32", "UINT64", "Aggregate", "Array",
    "Bool", "Buffer", "Compound", "Integer", "Member", "Nothing", "Pointer", "Record", "Special", "String",
    "Tuple", "Type", "struct_of",
]  # fmt: skip

_INTEGERS = {
    (1, False): u8, (2, False): u16, (4, False): u32, (8, False): u64,
    (1, True): s8, (2, True): s16, (4, True): s32, (8, True): s64,
}  # fmt: skip


class Type:
    """What all types share.

    :ivar kind: how a value lies in the memory of programs, in keys and values of maps and in events: a type of
        :mod:`pybpf.types`.
    """

    #: a value of it is one register: integers, booleans, pointers
    scalar = False

    @property
    def kind(self) -> Any:
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Bytes, padding included."""
        return layout(self.kind).size

    @property
    def align(self) -> int:
        """What the offset of a value is a multiple of."""
        return layout(self.kind).align

    @property
    def name(self) -> str:
        """As the language writes it."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Nothing(Type):
    """Of what gives no value: a call for its effect."""

    @property
    def kind(self) -> Any:
        return u8

    @property
    def name(self) -> str:
        return "none"


@dataclass(frozen=True)
class Integer(Type):
    """An integer.

    :ivar width: bytes.
    :ivar flexible: of a literal that is not negative: signed and unsigned values may stand beside it.
    :ivar enum: value -> name, of an enumeration.
    :ivar title: the name of the enumeration.
    """

    width: int
    signed: bool
    flexible: bool = False
    enum: tuple[tuple[int, str], ...] = ()
    title: str = ""

    scalar = True

    @property
    def kind(self) -> Any:
        return _INTEGERS[self.width, self.signed]

    @property
    def name(self) -> str:
        return self.title or f"{'' if self.signed else 'u'}int{8 * self.width}"

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Value -> name, of an enumeration."""
        return dict(self.enum)


@dataclass(frozen=True)
class Bool(Type):
    """``true`` or ``false``"""

    scalar = True

    @property
    def kind(self) -> Any:
        return bool_

    @property
    def name(self) -> str:
        return "bool"


@dataclass(frozen=True)
class String(Type):
    """Text that ends at the first NUL, or is as long as its room.

    :ivar room: bytes, the NUL included.
    """

    room: int

    @property
    def kind(self) -> Any:
        return array_of(char, self.room)

    @property
    def name(self) -> str:
        return f"string[{self.room}]"


@dataclass(frozen=True)
class Buffer(Type):
    """Bytes and how many of them count: a 32-bit length, then the bytes."""

    room: int

    @property
    def kind(self) -> Any:
        return struct_of((("length", u32), ("data", array_of(u8, self.room))))

    @property
    def name(self) -> str:
        return f"buffer[{self.room}]"


@dataclass(frozen=True)
class Pointer(Type):
    """An address.

    :ivar target: what is there.
    :ivar space: ``"user"``, ``"kernel"``, or ``""`` where the probe decides.
    """

    target: Type
    space: str = ""

    scalar = True

    @property
    def kind(self) -> Any:
        return u64

    @property
    def name(self) -> str:
        return f"{self.target.name} *".replace("* *", "**")


@dataclass(frozen=True)
class Array(Type):
    """``length`` items, one behind the other."""

    item: Type
    length: int

    @property
    def kind(self) -> Any:
        return array_of(self.item.kind, self.length) if self.length else array_of(u8, 1)

    @property
    def size(self) -> int:
        return self.item.size * self.length

    @property
    def name(self) -> str:
        return f"{self.item.name}[{self.length or ''}]"


class Member(NamedTuple):
    """A member of a struct or union."""

    name: str
    offset: int  #: bytes
    type: Type
    bits: BitLoad | None = None  #: of a bit-field; its ``offset`` counts from the record's start


@dataclass(frozen=True)
class Compound(Type):
    """A struct or union of C: of the script, or of the kernel. Subclasses know the members."""

    @property
    def kind(self) -> Any:
        return array_of(u8, max(self.size, 1))

    @property
    def size(self) -> int:
        raise NotImplementedError

    @property
    def align(self) -> int:
        return 8

    def member(self, name: str) -> Member | None:
        """The member of a name, those of anonymous members too."""
        raise NotImplementedError

    def names(self) -> list[str]:
        """The names of all members."""
        raise NotImplementedError


@dataclass(frozen=True)
class Tuple(Type):
    """``(1, "a")``: items at C's offsets, padding zero."""

    items: tuple[Type, ...]

    @property
    def kind(self) -> Any:
        return struct_of(tuple((f"item{index}", item.kind) for index, item in enumerate(self.items)))

    @property
    def size(self) -> int:
        return layout(self.kind).size if self.items else 0

    @property
    def name(self) -> str:
        return f"({', '.join(item.name for item in self.items)})"

    def offset(self, index: int) -> int:
        """Where an item lies."""
        found: int = self.kind.__layout__.fields[f"item{index}"].offset
        return found


@dataclass(frozen=True)
class Record(Type):
    """``(a = 1, b = 2)``: as a tuple, with names."""

    fields: tuple[tuple[str, Type], ...]

    @property
    def kind(self) -> Any:
        return self.plain.kind

    @property
    def plain(self) -> Tuple:
        """The same without names."""
        return Tuple(tuple(kind for _, kind in self.fields))

    @property
    def name(self) -> str:
        return "record { " + " ".join(f".{name}: {kind.name}," for name, kind in self.fields).rstrip(",") + " }"

    def index(self, name: str) -> int | None:
        """Which field has a name."""
        return next((index for index, (each, _) in enumerate(self.fields) if each == name), None)


@dataclass(frozen=True)
class Special(Type):
    """A value that user space turns into text: a stack, an address that has a name, an internet address.

    :ivar what: which, a key of the table in :mod:`pybpf.bt.runtime.naming`.
    :ivar layout_kind: how it lies in memory.
    :ivar options: what else the text depends on, such as the mode of a stack.
    """

    what: str
    layout_kind: Any
    options: tuple[Any, ...] = ()

    @property
    def kind(self) -> Any:
        return self.layout_kind

    @property
    def name(self) -> str:
        return self.what


@dataclass(frozen=True)
class Aggregate(Type):
    """The value of a map whose CPUs each keep their own: ``count()`` and its like.

    :ivar way: ``"count"``, ``"sum"``, ``"min"``, ``"max"``, ``"avg"``, ``"stats"``, ``"hist"``, ``"lhist"``,
        ``"tseries"``.
    :ivar signed: of ``sum``, ``min``, ``max``, ``avg`` and ``stats``: whether values may be negative.
    :ivar options: bits of ``hist``; minimum, maximum and step of ``lhist``; interval, number, way and clock of
        ``tseries``.
    """

    way: str
    signed: bool = True
    options: tuple[Any, ...] = ()

    @property
    def kind(self) -> Any:
        """What each CPU keeps."""
        fields, number = _KEPT[self.way], s64 if self.signed else u64
        if not fields:
            return u64 if self.way in ("count", "hist", "lhist") else number
        return struct_of(tuple((name, number if name in ("value", "total") else u64) for name in fields))

    @property
    def name(self) -> str:
        return f"{self.way}_t"


#: Way -> the fields of what a CPU keeps; none: one number.
_KEPT: Mapping[str, tuple[str, ...]] = {
    "count": (), "sum": (), "hist": (), "lhist": (), "min": ("value", "seen"), "max": ("value", "seen"),
    "avg": ("total", "count"), "stats": ("total", "count"),
    "tseries": ("value", "count", "epoch", "time"),
}  # fmt: skip


@cache
def struct_of(fields: tuple[tuple[str, Any], ...]) -> Any:
    """A Struct of these fields; the same for the same."""
    return ElementType("Values", (Struct,), {"__annotations__": dict(fields), "__module__": __name__})


NONE = Nothing()
BOOL = Bool()
INT8, INT16, INT32, INT64 = (Integer(width, True) for width in (1, 2, 4, 8))
UINT8, UINT16, UINT32, UINT64 = (Integer(width, False) for width in (1, 2, 4, 8))
