"""C types and how they lie in memory: 64-bit kernels' layout, which is the same for x86_64 and aarch64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

from pybpf.record import NamedTuple, dataclass

__all__ = [
    "BASIC",
    "CArray",
    "CBasic",
    "CCompound",
    "CEnum",
    "CForeign",
    "CFunction",
    "CMember",
    "CPointer",
    "CType",
    "align_of",
    "size_of",
]


@dataclass(frozen=True)
class CBasic:
    """An arithmetic type; ``void`` has size 0. ``size`` and ``align`` are in bytes."""

    name: str
    size: int
    align: int
    signed: bool
    real: bool = False  #: floating point


@dataclass(frozen=True)
class CPointer:
    """A pointer; to what matters to those who follow it only."""

    target: CType


@dataclass(frozen=True)
class CFunction:
    """A function, whose parameters are not kept: only pointers to it have a use."""


@dataclass(frozen=True)
class CArray:
    """An array; ``length`` 0 is that of ``[]``, too."""

    item: CType
    length: int


@dataclass(frozen=True, eq=False)
class CEnum:
    """An enumeration. It is unsigned unless a value is negative, and of 4 bytes unless one needs 8, as GCC has it."""

    name: str
    values: dict[str, int]
    size: int
    signed: bool


class CMember(NamedTuple):
    """A member of a struct or union."""

    name: str  #: ``""`` of an anonymous struct or union, whose members are the outer one's, too
    type: CType
    bit_offset: int  #: from the start of the struct
    bit_size: int = 0  #: of a bit-field, otherwise 0

    @property
    def offset(self) -> int:
        """Bytes from the start; of a bit-field, of the byte that its first bit is in."""
        return self.bit_offset // 8


@dataclass(eq=False)
class CCompound:
    """A struct or union. Not ``complete`` where only its name is known: then it can be pointed at only."""

    keyword: str
    name: str
    members: tuple[CMember, ...] = ()
    size: int = 0
    align: int = 1
    complete: bool = False

    def flat(self) -> Iterator[CMember]:
        """Every member that has a name, those of anonymous members as the outer one's."""
        for member in self.members:
            if not member.name and isinstance(member.type, CCompound):
                for inner in member.type.flat():
                    yield inner._replace(bit_offset=member.bit_offset + inner.bit_offset)
            else:
                yield member

    def member(self, name: str) -> CMember | None:
        """The member of a name, also in anonymous members, or None."""
        return next((each for each in self.flat() if each.name == name), None)


@dataclass(eq=False)
class CForeign(CCompound):
    """A struct or union that is defined elsewhere, by the kernel.

    :ivar known: what knows its members.
    """

    known: object = None


CType = Union[CBasic, CPointer, CFunction, CArray, CEnum, CCompound]


def _integers() -> Iterator[CBasic]:
    for name, size in (("char", 1), ("short", 2), ("int", 4), ("long", 8), ("long long", 8), ("__int128", 16)):
        yield CBasic(name, size, size, True)
        yield CBasic(f"unsigned {name}", size, size, False)
    yield CBasic("signed char", 1, 1, True)


#: name -> type, for the words that C has itself
BASIC = {each.name: each for each in _integers()}
BASIC.update(
    {
        "void": CBasic("void", 0, 1, False),
        "_Bool": CBasic("_Bool", 1, 1, False),
        "float": CBasic("float", 4, 4, True, True),
        "double": CBasic("double", 8, 8, True, True),
        "long double": CBasic("long double", 16, 16, True, True),
    }
)


def size_of(kind: CType) -> int:
    """Bytes that a value takes; 0 of what has no size."""
    if isinstance(kind, CArray):
        return size_of(kind.item) * kind.length
    if isinstance(kind, CPointer):
        return 8
    return 0 if isinstance(kind, CFunction) else kind.size


def align_of(kind: CType) -> int:
    """What the offset of a value must be a multiple of, in bytes."""
    if isinstance(kind, CArray):
        return align_of(kind.item)
    if isinstance(kind, CPointer):
        return 8
    if isinstance(kind, CEnum):
        return kind.size
    return 1 if isinstance(kind, CFunction) else kind.align
