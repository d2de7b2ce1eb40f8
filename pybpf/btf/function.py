"""Functions and tracepoints with the names and types of their parameters."""

from __future__ import annotations

from typing import NamedTuple

from pybpf.btf import kinds
from pybpf.btf.kinds import Kind, Parameter
from pybpf.btf.reader import Types
from pybpf.errors import BtfError

__all__ = ["TRACEPOINT_PREFIX", "Function", "function", "tracepoint"]

#: ``btf_trace_NAME`` is the typedef of the prototype of the probes of tracepoint NAME (Linux 5.5).
TRACEPOINT_PREFIX = "btf_trace_"


class Function(NamedTuple):
    """A function's prototype.

    ``id`` is what ``attach_btf_id`` takes: of the FUNC, or of a tracepoint's typedef.
    """

    name: str
    id: int
    return_type: int  #: 0: void
    parameters: tuple[Parameter, ...]
    variadic: bool = False


def function(types: Types, name: str) -> Function:
    """The function with a name. :raises BtfError: this BTF has none."""
    found = types.find(Kind.FUNC, name)
    if found is None:
        raise BtfError(f"this BTF has no function {name!r}: it was inlined, optimized away, or never existed")
    return _function(types, name, found, types.type(found), 0)


def tracepoint(types: Types, name: str) -> Function:
    """A tracepoint as a program of type ``tp_btf`` sees it: without the probe's first parameter, ``void *``.

    :raises BtfError: this BTF has none of this name.
    """
    found = types.find(Kind.TYPEDEF, TRACEPOINT_PREFIX + name)
    if found is None:
        raise BtfError(f"this BTF has no tracepoint {name!r}")
    return _function(types, name, found, types.type(types.resolve(found)), 1)


def _function(types: Types, name: str, type_id: int, kind: kinds.BtfType, skip: int) -> Function:
    """:param kind: what refers to the prototype."""
    proto = types.type(types.resolve(kind.type)) if isinstance(kind, (kinds.Func, kinds.Ptr)) else kind
    if not isinstance(proto, kinds.FuncProto):
        raise BtfError(f"type {type_id}, {name!r}, has no prototype")
    parameters = proto.parameters[skip:]
    variadic = bool(parameters) and parameters[-1] == Parameter("", 0)
    return Function(name, type_id, proto.type, parameters[:-1] if variadic else parameters, variadic)
