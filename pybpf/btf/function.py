"""Functions and tracepoints with the names and types of their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from pybpf.btf import kinds
from pybpf.btf.kinds import Kind, Parameter
from pybpf.btf.reader import Types
from pybpf.errors import BtfError
from pybpf.record import NamedTuple

__all__ = ["TRACEPOINT_PREFIX", "Function", "function", "functions_named", "tracepoint"]

#: ``btf_trace_NAME`` is the typedef of the prototype of the probes of tracepoint NAME (Linux 5.5).
TRACEPOINT_PREFIX = "btf_trace_"
#: A search for one name takes about a hundredth of the time that it takes to read all of them.
_MANY = 64


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


def functions_named(types: Types, names: Sequence[str]) -> Iterator[Function | None]:
    """:func:`function` of each name, None where this BTF has none: by one pass over the types when there are many."""
    find = partial(types.find, Kind.FUNC) if len(names) < _MANY else _by_name(types).get
    for name in names:
        number = find(name)
        try:
            yield None if number is None else _function(types, name, number, types.type(number), 0)
        except BtfError:
            yield None


def _by_name(types: Types) -> dict[str, int]:
    """Every function's id; of several of one name the first, of a module's and the kernel's the module's."""
    shared = len(types.base.names(Kind.FUNC)) if types.base else 0
    found = types.names(Kind.FUNC)
    return {**dict(reversed(found[:shared])), **dict(reversed(found[shared:]))}


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
