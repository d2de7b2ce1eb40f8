"""What is known of a function or tracepoint before it is compiled for: names, types and places of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pybpf.btf import Btf, Function
from pybpf.errors import BpfError, BtfError
from pybpf.lang.probes.fields import field_shape
from pybpf.lang.values.shapes import Shape, btf_shape
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from pybpf.compiler.target import Target

__all__ = [
    "WORD", "Argument", "Prototype", "function_prototype", "raw_prototype", "syscall_prototype", "types_of",
]  # fmt: skip

#: where the names of a raw tracepoint's parameters are: functions that the kernel makes of each
_NAMED_BY = ("__bpf_trace_", "__traceiter_", "__probestub_")
#: bytes that an argument takes at least
WORD = 8


class Argument(NamedTuple):
    """One argument of what is probed."""

    name: str
    shape: Shape
    word: int  #: which 8 bytes of the arguments it begins in


class Prototype(NamedTuple):
    """What is known of what is probed."""

    arguments: Sequence[Argument]
    result: Shape | None
    words: int  #: that all arguments take


def _prototype(types: Btf, function: Function, skip: int = 0) -> Prototype:
    arguments, word = [], 0
    for parameter in function.parameters[skip:]:
        shape = btf_shape(types, parameter.type)
        arguments.append(Argument(parameter.name, shape, word))
        word += max(1, -(-shape.size // WORD))  # structs of up to 16 bytes are passed in two
    result = btf_shape(types, function.return_type) if function.return_type else None
    return Prototype(arguments, result, word)


def types_of(target: Target, name: str) -> tuple[Btf | None, str]:
    """The types that know a function, and its name without its module."""
    module, _, plain = name.rpartition(":")
    return (target.module_types(module) if module else target.types()), plain.partition("+")[0]


def function_prototype(target: Target, name: str) -> Prototype | None:
    """The prototype of a kernel function (``"name"``, ``"module:name"``), where the target's types have it."""
    types, plain = types_of(target, name)
    if types is None:
        return None
    try:
        return _prototype(types, types.function(plain))
    except BtfError:
        return None


def raw_prototype(target: Target, name: str) -> Prototype | None:
    """The arguments of a tracepoint as its raw form has them, where the target's types know them."""
    types, name = types_of(target, name)
    if types is None:
        return None
    for prefix in _NAMED_BY:
        if types.find("func", prefix + name) is not None:
            return _prototype(types, types.function(prefix + name), skip=1)
    if types.find("typedef", f"btf_trace_{name}") is not None:
        return _prototype(types, types.tracepoint(name))
    return None


def syscall_prototype(target: Target, name: str) -> Prototype | None:
    """A system call's own parameters: those of the function that the wrapper calls, or of its tracepoint."""
    known = function_prototype(target, f"__do_sys_{name}")
    if known is not None or target.tracepoint_fields is None:
        return known
    try:
        fields = target.tracepoint_fields(f"syscalls:sys_enter_{name}")
    except BpfError:  # there is none, or it may not be looked at
        return None
    shapes = [(field.name, field_shape(field.type, field.size, field.signed, target.types)) for field in fields]
    arguments = [Argument(name, shape, word - 1) for word, (name, shape) in enumerate(shapes) if word]
    return Prototype(arguments, None, len(arguments))
