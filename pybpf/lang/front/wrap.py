"""What an object of Python is in a probe: the object says so itself, a table does, or it is a constant."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from pybpf.errors import BpfError
from pybpf.lang.values.constants import Const, hashable
from pybpf.types import Array, Int, PointerType, Struct, bool_

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["OfAnotherTracer", "wrap"]


class OfAnotherTracer(BpfError):
    """A map or a stream of events that another tracer made; the front end says where it is used."""


def wrap(gen: Gen, value: Any) -> Val:
    """The value of an object: what ``__probe_value__(gen)`` of its class gives, or what it is to the compiler.

    :raises OfAnotherTracer: it is a part of another tracer than the probe.
    """
    ask = getattr(type(value), "__probe_value__", None)
    if ask is not None:
        counter = getattr(value, "counter", None)
        if counter is not None and not gen.probe.owns(counter.counts):
            raise OfAnotherTracer("a probe uses the maps and events of its own tracer")
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
