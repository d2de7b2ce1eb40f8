"""What an object of Python is in a probe: the object says so itself, a table does, or it is a constant."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from pybpf.lang.values.constants import Const, hashable
from pybpf.types import Array, Int, PointerType, Struct, bool_

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["wrap"]


def wrap(gen: Gen, value: Any) -> Val:
    """The value of an object: what ``__probe_value__(gen)`` of its class gives, or what it is to the compiler."""
    ask = getattr(type(value), "__probe_value__", None)
    if ask is not None:
        made: Val = ask(value, gen)
        return made
    if isinstance(value, (FunctionType, MethodType)):
        from pybpf.lang.front.functions import FunctionVal

        return FunctionVal(value)
    if isinstance(value, type) and (issubclass(value, Int) or value in (bool_, bool, int)):
        from pybpf.lang.values.conversions import TypeVal

        return TypeVal(value)
    if isinstance(value, type) and issubclass(value, PointerType):
        from pybpf.lang.values.conversions import PointerTypeVal

        return PointerTypeVal(value)
    if isinstance(value, type) and issubclass(value, (Array, Struct)):
        from pybpf.lang.values.views import type_val

        return type_val(value)
    if callable(value):
        from pybpf.lang.front.callables import CALLABLES

        known = CALLABLES.get(value) if hashable(value) else None
        if known is not None:
            return known
    return Const(value)
