"""The 19 kinds of BTF types as named tuples; a type refers to another by its id, 0 being ``void``.

Source: Documentation/bpf/btf.rst and include/uapi/linux/btf.h of Linux 6.18.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Union as OneOf

from pybpf.record import NamedTuple

__all__ = [
    "Array",
    "BtfType",
    "Const",
    "DataSec",
    "DeclTag",
    "Encoding",
    "Enum",
    "Enum64",
    "Enumerator",
    "Field",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "Int",
    "Kind",
    "Linkage",
    "Parameter",
    "Ptr",
    "Restrict",
    "SectionVar",
    "Struct",
    "TypeTag",
    "Typedef",
    "Union",
    "Var",
    "Void",
    "Volatile",
]


class Kind(IntEnum):
    """``BTF_KIND_*``; VOID is the type with id 0, which no blob contains."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Encoding(IntFlag):
    """``encoding`` of an INT."""

    SIGNED = 1
    CHAR = 2
    BOOL = 4


class Linkage(IntEnum):
    """``linkage`` of a FUNC or VAR."""

    STATIC = 0
    GLOBAL = 1
    EXTERN = 2


class Void(NamedTuple):
    """The type with id 0."""

    name: str = "void"


class Int(NamedTuple):
    """An integer of ``size`` bytes; only its ``bits`` from bit ``offset`` on count (old encoding of bitfields)."""

    name: str
    size: int
    encoding: int
    bits: int
    offset: int = 0

    @property
    def signed(self) -> bool:
        """True for a signed integer."""
        return bool(self.encoding & Encoding.SIGNED)

    @property
    def is_char(self) -> bool:
        """True for C's plain ``char``, whose arrays are text."""
        return self.size == 1 and (self.name == "char" or bool(self.encoding & Encoding.CHAR))


class Ptr(NamedTuple):
    """A pointer to ``type``."""

    name: str
    type: int


class Array(NamedTuple):
    """``length`` elements of ``type``; 0 for a flexible array."""

    name: str
    type: int
    index_type: int
    length: int


class Field(NamedTuple):
    """A member of a struct or union: ``offset`` in bits; ``bits`` is a bitfield's width, or 0.

    In structs without bitfields of the new encoding a bitfield's width is that of its INT type: use
    :meth:`pybpf.btf.Btf.member`, which knows both.
    """

    name: str
    type: int
    offset: int
    bits: int = 0


class Struct(NamedTuple):
    """A struct of ``size`` bytes."""

    name: str
    size: int
    members: tuple[Field, ...]


class Union(NamedTuple):
    """A union of ``size`` bytes."""

    name: str
    size: int
    members: tuple[Field, ...]


class Enumerator(NamedTuple):
    """One constant of an enum."""

    name: str
    value: int


class Enum(NamedTuple):
    """An enum of ``size`` bytes (1, 2, 4 or 8) whose constants have 32 bits.

    Before Linux 6.0 nothing told signed enums apart: -1 there reads as 0xffffffff.
    """

    name: str
    size: int
    signed: bool
    values: tuple[Enumerator, ...]


class Enum64(NamedTuple):
    """An enum whose constants have 64 bits (Linux 6.0)."""

    name: str
    size: int
    signed: bool
    values: tuple[Enumerator, ...]


class Fwd(NamedTuple):
    """A struct (or union) that is declared but not defined."""

    name: str
    union: bool


class Typedef(NamedTuple):
    """``typedef type name``."""

    name: str
    type: int


class Volatile(NamedTuple):
    """``volatile type``."""

    name: str
    type: int


class Const(NamedTuple):
    """``const type``."""

    name: str
    type: int


class Restrict(NamedTuple):
    """``restrict type``."""

    name: str
    type: int


class Func(NamedTuple):
    """A function; ``type`` is its FUNC_PROTO."""

    name: str
    type: int
    linkage: int


class Parameter(NamedTuple):
    """A parameter; one without name and type (0) at the end stands for ``...``."""

    name: str
    type: int


class FuncProto(NamedTuple):
    """A function's prototype; ``type`` is what it returns."""

    name: str
    type: int
    parameters: tuple[Parameter, ...]


class Var(NamedTuple):
    """A global variable."""

    name: str
    type: int
    linkage: int


class SectionVar(NamedTuple):
    """A variable's place in its section: ``type`` is the VAR; bytes."""

    type: int
    offset: int
    size: int


class DataSec(NamedTuple):
    """A section of variables."""

    name: str
    size: int
    variables: tuple[SectionVar, ...]


class Float(NamedTuple):
    """A floating point number of ``size`` bytes (Linux 5.13)."""

    name: str
    size: int


class DeclTag(NamedTuple):
    """``btf_decl_tag(name)`` on ``type``, or on its member or parameter number ``component`` (-1: on itself).

    ``attribute`` (Linux 6.14): ``name`` is a whole attribute instead.
    """

    name: str
    type: int
    component: int
    attribute: bool = False


class TypeTag(NamedTuple):
    """``btf_type_tag(name)`` on ``type``, such as ``user``; ``attribute`` as in :class:`DeclTag`."""

    name: str
    type: int
    attribute: bool = False


BtfType = OneOf[
    Void, Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict, Func, FuncProto, Var, DataSec,
    Float, DeclTag, TypeTag, Enum64,
]  # fmt: skip
