"""The type vocabulary of map keys, map values and events, shared by every layer.

>>> from pybpf.types import Struct, char, u32, layout
>>> class Event(Struct):
...     pid: u32
...     comm: char[16]
>>> layout(Event).pack(Event(pid=1, comm="cat"))[:8]
b'\\x01\\x00\\x00\\x00cat\\x00'
"""

from pybpf.types.layout import Layout, layout, sizeof
from pybpf.types.pointer import PointerLayout, PointerType, pointer_to
from pybpf.types.scalars import Array, Int, array_of, bool_, char, s8, s16, s32, s64, u8, u16, u32, u64
from pybpf.types.struct import Field, Struct, StructLayout

__all__ = [
    "Array",
    "Field",
    "Int",
    "Layout",
    "PointerLayout",
    "PointerType",
    "Struct",
    "StructLayout",
    "array_of",
    "bool_",
    "char",
    "layout",
    "pointer_to",
    "s8",
    "s16",
    "s32",
    "s64",
    "sizeof",
    "u8",
    "u16",
    "u32",
    "u64",
]
