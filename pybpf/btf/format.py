"""BTF's binary format: the header, and one table row per kind from which reader and writer derive."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from pybpf.btf import kinds
from pybpf.btf.kinds import BtfType, Kind
from pybpf.errors import BtfError
from pybpf.record import NamedTuple

__all__ = ["HEADER_SIZE", "KIND_OF", "MAGIC", "ROWS", "Header", "Raw", "Row", "Steps", "read_header"]

MAGIC = 0xEB9F
HEADER_SIZE = 24
_VERSION = 1


class Header(NamedTuple):
    """Where the sections lie; byte offsets from the start of the blob."""

    endian: str  #: ``"little"`` or ``"big"``
    types: slice
    strings: slice


def read_header(data: memoryview) -> Header:
    """Check the header of a blob. :raises BtfError: it is not BTF, or a section lies outside or over the other."""
    if len(data) < HEADER_SIZE:
        raise BtfError(f"cannot read BTF: {len(data)} bytes are fewer than its header has")
    endian = "little" if data[0] == MAGIC & 0xFF else "big"
    magic, version, _flags, size, type_off, type_len, str_off, str_len = struct.unpack_from(
        ("<" if endian == "little" else ">") + "HBB5I", data
    )
    if magic != MAGIC:
        raise BtfError(f"cannot read BTF: it starts with {bytes(data[:2]).hex()}, not with the magic number eb9f")
    if version != _VERSION:
        raise BtfError(f"cannot read BTF: its version is {version}, only {_VERSION} is known")
    if size < HEADER_SIZE:
        raise BtfError(f"cannot read BTF: its header claims {size} bytes, fewer than {HEADER_SIZE}")
    sections = []
    for name, offset, length in (("type", type_off, type_len), ("string", str_off, str_len)):
        if size + offset + length > len(data):
            raise BtfError(f"cannot read BTF: its {name} section ends beyond its {len(data)} bytes: is it truncated?")
        sections.append(slice(size + offset, size + offset + length))
    types, strings = sections
    if type_len % 4 or type_off % 4:
        raise BtfError("cannot read BTF: its type section is not made of 32-bit words")
    if type_len and str_len and types.start < strings.stop and strings.start < types.stop:
        raise BtfError("cannot read BTF: its type and string sections overlap")
    return Header(endian, types, strings)


class Raw(NamedTuple):
    """A type as it lies in the type section, its name apart."""

    vlen: int
    kflag: bool
    size: int  #: or the id of the type that it refers to
    extra: Sequence[int]  #: the words after the three common ones


Decode = Callable[[str, Raw, Callable[[int], str]], BtfType]
Encode = Callable[[Any, Callable[[str], int]], Raw]


class Row(NamedTuple):
    """What the format says of one kind."""

    cls: Any
    fixed: int  #: extra words
    each: int  #: extra words for each of the vlen items
    decode: Decode  #: (name, raw, string offset -> name) -> type
    encode: Encode  #: (type, name -> string offset) -> raw
    kflag: bool = False  #: the flag may be set
    vlen: int = 0  #: the largest vlen


def _signed(value: int, bits: int) -> int:
    return value - (value >> (bits - 1) << bits)


def _items(raw: Raw, each: int) -> Any:
    """The vlen items of a type, each a tuple of words."""
    return zip(*(iter(raw.extra),) * each)


def _reference(cls: Any) -> tuple[Decode, Encode]:
    return lambda name, raw, names: cls(name, raw.size), lambda kind, offset: Raw(0, False, kind.type, ())


def _decode_int(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    word = raw.extra[0]
    return kinds.Int(name, raw.size, word >> 24 & 15, word & 0xFF, word >> 16 & 0xFF)


def _encode_int(kind: kinds.Int, offset: Callable[[str], int]) -> Raw:
    return Raw(0, False, kind.size, [kind.encoding << 24 | kind.offset << 16 | kind.bits])


def _decode_array(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.Array(name, *raw.extra)


def _encode_array(kind: kinds.Array, offset: Callable[[str], int]) -> Raw:
    return Raw(0, False, 0, [kind.type, kind.index_type, kind.length])


def _struct(cls: Any) -> tuple[Decode, Encode]:
    def decode(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
        if raw.kflag:
            fields = [kinds.Field(names(n), t, where & 0xFFFFFF, where >> 24) for n, t, where in _items(raw, 3)]
        else:
            fields = [kinds.Field(names(n), t, where) for n, t, where in _items(raw, 3)]
        made: BtfType = cls(name, raw.size, tuple(fields))
        return made

    def encode(kind: kinds.Struct, offset: Callable[[str], int]) -> Raw:
        kflag = any(field.bits for field in kind.members)
        extra: list[int] = []
        for field in kind.members:
            if kflag and (field.offset > 0xFFFFFF or field.bits > 0xFF):
                raise BtfError(f"{kind.name}.{field.name}: bit offset {field.offset} is too far for a bitfield")
            extra += offset(field.name), field.type, field.offset | field.bits << 24
        return Raw(len(kind.members), kflag, kind.size, extra)

    return decode, encode


def _decode_enum(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    values = [kinds.Enumerator(names(n), _signed(v, 32) if raw.kflag else v) for n, v in _items(raw, 2)]
    return kinds.Enum(name, raw.size, raw.kflag, tuple(values))


def _encode_enum(kind: kinds.Enum, offset: Callable[[str], int]) -> Raw:
    extra = [word for name, value in kind.values for word in (offset(name), value & 0xFFFFFFFF)]
    return Raw(len(kind.values), kind.signed, kind.size, extra)


def _decode_enum64(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    values = ((names(n), low | high << 32) for n, low, high in _items(raw, 3))
    made = [kinds.Enumerator(n, _signed(v, 64) if raw.kflag else v) for n, v in values]
    return kinds.Enum64(name, raw.size, raw.kflag, tuple(made))


def _encode_enum64(kind: kinds.Enum64, offset: Callable[[str], int]) -> Raw:
    extra: list[int] = []
    for name, value in kind.values:
        extra += offset(name), value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    return Raw(len(kind.values), kind.signed, kind.size, extra)


def _decode_fwd(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.Fwd(name, raw.kflag)


def _encode_fwd(kind: kinds.Fwd, offset: Callable[[str], int]) -> Raw:
    return Raw(0, kind.union, 0, ())


def _decode_func(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.Func(name, raw.size, raw.vlen)


def _encode_func(kind: kinds.Func, offset: Callable[[str], int]) -> Raw:
    return Raw(kind.linkage, False, kind.type, ())


def _decode_proto(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.FuncProto(name, raw.size, tuple(kinds.Parameter(names(n), t) for n, t in _items(raw, 2)))


def _encode_proto(kind: kinds.FuncProto, offset: Callable[[str], int]) -> Raw:
    extra = [word for name, type_id in kind.parameters for word in (offset(name), type_id)]
    return Raw(len(kind.parameters), False, kind.type, extra)


def _decode_var(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.Var(name, raw.size, raw.extra[0])


def _encode_var(kind: kinds.Var, offset: Callable[[str], int]) -> Raw:
    return Raw(0, False, kind.type, [kind.linkage])


def _decode_datasec(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.DataSec(name, raw.size, tuple(kinds.SectionVar(*words) for words in _items(raw, 3)))


def _encode_datasec(kind: kinds.DataSec, offset: Callable[[str], int]) -> Raw:
    return Raw(len(kind.variables), False, kind.size, [word for var in kind.variables for word in var])


def _decode_float(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.Float(name, raw.size)


def _encode_float(kind: kinds.Float, offset: Callable[[str], int]) -> Raw:
    return Raw(0, False, kind.size, ())


def _decode_decl_tag(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.DeclTag(name, raw.size, _signed(raw.extra[0], 32), raw.kflag)


def _encode_decl_tag(kind: kinds.DeclTag, offset: Callable[[str], int]) -> Raw:
    return Raw(0, kind.attribute, kind.type, [kind.component & 0xFFFFFFFF])


def _decode_type_tag(name: str, raw: Raw, names: Callable[[int], str]) -> BtfType:
    return kinds.TypeTag(name, raw.size, raw.kflag)


def _encode_type_tag(kind: kinds.TypeTag, offset: Callable[[str], int]) -> Raw:
    return Raw(0, kind.attribute, kind.type, ())


_MANY = 0xFFFF
#: One row per kind; Linux 6.14 allowed kflag on tags, 6.0 on enums.
ROWS: dict[Kind, Row] = {
    Kind.INT: Row(kinds.Int, 1, 0, _decode_int, _encode_int),
    Kind.PTR: Row(kinds.Ptr, 0, 0, *_reference(kinds.Ptr)),
    Kind.ARRAY: Row(kinds.Array, 3, 0, _decode_array, _encode_array),
    Kind.STRUCT: Row(kinds.Struct, 0, 3, *_struct(kinds.Struct), kflag=True, vlen=_MANY),
    Kind.UNION: Row(kinds.Union, 0, 3, *_struct(kinds.Union), kflag=True, vlen=_MANY),
    Kind.ENUM: Row(kinds.Enum, 0, 2, _decode_enum, _encode_enum, kflag=True, vlen=_MANY),
    Kind.FWD: Row(kinds.Fwd, 0, 0, _decode_fwd, _encode_fwd, kflag=True),
    Kind.TYPEDEF: Row(kinds.Typedef, 0, 0, *_reference(kinds.Typedef)),
    Kind.VOLATILE: Row(kinds.Volatile, 0, 0, *_reference(kinds.Volatile)),
    Kind.CONST: Row(kinds.Const, 0, 0, *_reference(kinds.Const)),
    Kind.RESTRICT: Row(kinds.Restrict, 0, 0, *_reference(kinds.Restrict)),
    Kind.FUNC: Row(kinds.Func, 0, 0, _decode_func, _encode_func, vlen=max(kinds.Linkage)),
    Kind.FUNC_PROTO: Row(kinds.FuncProto, 0, 2, _decode_proto, _encode_proto, vlen=_MANY),
    Kind.VAR: Row(kinds.Var, 1, 0, _decode_var, _encode_var),
    Kind.DATASEC: Row(kinds.DataSec, 0, 3, _decode_datasec, _encode_datasec, vlen=_MANY),
    Kind.FLOAT: Row(kinds.Float, 0, 0, _decode_float, _encode_float),
    Kind.DECL_TAG: Row(kinds.DeclTag, 1, 0, _decode_decl_tag, _encode_decl_tag, kflag=True),
    Kind.TYPE_TAG: Row(kinds.TypeTag, 0, 0, _decode_type_tag, _encode_type_tag, kflag=True),
    Kind.ENUM64: Row(kinds.Enum64, 0, 3, _decode_enum64, _encode_enum64, kflag=True, vlen=_MANY),
}  # fmt: skip
#: class -> kind
KIND_OF: dict[type, Kind] = {row.cls: kind for kind, row in ROWS.items()}


class Steps(dict[int, int]):
    """``info`` word -> number of words of such a type, checked when first met.

    Only valid words are kept, so that its size is bound by the type section's: large vlens take space there.
    """

    def __missing__(self, info: int) -> int:
        number, vlen = info >> 24 & 31, info & 0xFFFF
        try:
            row = ROWS[Kind(number)]
        except (KeyError, ValueError):
            raise BtfError(f"its kind is {number}, which is not known") from None
        if info & 0x60FF0000 or (info >> 31 and not row.kflag) or vlen > row.vlen:
            raise BtfError(f"its info word {info:#x} is not valid for a {Kind(number).name}")
        self[info] = words = 3 + row.fixed + row.each * vlen
        return words
