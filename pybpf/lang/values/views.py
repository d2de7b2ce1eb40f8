"""Which class of values stands for a type in memory, and which for the type itself."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.values.arrays import ArrayRef, ArrayType, MadeArray
from pybpf.lang.values.memory import Ref
from pybpf.lang.values.strings import Chars
from pybpf.lang.values.structs import MadeStruct, StructRef, StructType
from pybpf.lang.values.val import Val
from pybpf.types import Array, Layout, Struct, StructLayout, layout
from pybpf.types.layout import BytesLayout, CharsLayout, TupleLayout

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen

__all__ = ["from_items", "type_val", "view_class"]

_VIEWS: Mapping[type[Layout[Any]], type[Ref]] = MappingProxyType(
    {StructLayout: StructRef, TupleLayout: ArrayRef, CharsLayout: Chars, BytesLayout: Chars}
)


def view_class(kind: Any) -> type[Ref]:
    """The class of places that hold values of a type."""
    return _VIEWS.get(type(layout(kind)), Ref)


def from_items(gen: Gen, items: Sequence[Val], kind: Any, at: ast.AST) -> Val | None:
    """The value of a type whose fields or elements are ``items``; None when the type has no such things."""
    found = layout(kind)
    if isinstance(found, StructLayout):
        return MadeStruct.of(gen, kind, items, {}, at)
    if isinstance(found, TupleLayout):
        return MadeArray.of(gen, kind, items, at)
    return None


def type_val(kind: type[Array] | type[Struct]) -> Val:
    """What a type of :mod:`pybpf.types` that is no integer is in a probe."""
    return StructType(kind) if issubclass(kind, Struct) else ArrayType(kind)
