"""The types of the language: what every expression has, how its values lie in memory, how they widen."""

from pybpf.bt.types.join import differ_in_sign, fits, join
from pybpf.bt.types.types import (
    BOOL,
    INT8,
    INT16,
    INT32,
    INT64,
    NONE,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Aggregate,
    Array,
    Bool,
    Buffer,
    Compound,
    Integer,
    Member,
    Nothing,
    Pointer,
    Record,
    Special,
    String,
    Tuple,
    Type,
    struct_of,
)

__all__ = [
    "BOOL", "INT8", "INT16", "INT32", "INT64", "NONE", "UINT8", "UINT16", "UINT32", "UINT64", "Aggregate", "Array",
    "Bool", "Buffer", "Compound", "Integer", "Member", "Nothing", "Pointer", "Record", "Special", "String",
    "Tuple", "Type", "differ_in_sign", "fits", "join", "struct_of",
]  # fmt: skip
