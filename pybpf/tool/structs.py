"""``struct``: a Struct whose fields are known only when a tool runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pybpf.types import Struct
from pybpf.types.scalars import ElementType

__all__ = ["struct"]


def struct(name: str, fields: Mapping[str, Any]) -> type[Struct]:
    """A subclass of :class:`~pybpf.Struct`.

    :param fields: name -> type, in their order.
    """
    made: type[Struct] = ElementType(name, (Struct,), {"__annotations__": dict(fields), "__module__": __name__})
    return made
