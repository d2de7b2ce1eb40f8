"""Addresses of networks: ``ntop`` and ``macaddr`` keep them as bytes that user space writes; ``pton`` reads text."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.functions.output import text_of
from pybpf.bt.lower.values import Known, Made, Value
from pybpf.bt.syntax import tree
from pybpf.bt.types import UINT8, Array, Compound, Integer, Nothing, Pointer, Special, String, Type, struct_of
from pybpf.lang.values import raw
from pybpf.types import array_of, u8, u32

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand
    from pybpf.lang.values.reading import Where

__all__ = ["INET", "MACADDR", "ROWS"]

_V4, _V6, _MAC = 4, 16, 6
#: bytes of an address -> its family
_FAMILIES = {_V4: int(socket.AF_INET), _V6: int(socket.AF_INET6)}
_KEPT = struct_of((("family", u32), ("packed", array_of(u8, _V6))))
INET = Special("inet", _KEPT)
MACADDR = Special("macaddr", array_of(u8, _MAC))


def _bytes_of(check: Checker, node: tree.Node) -> Type:
    """The type of what has the bytes of an address: pointers to it are followed."""
    found = check.read(check.value(node))
    return found.target if isinstance(found, Pointer) else found


def _place(gen: Gen, node: tree.Node) -> tuple[Where, int]:
    """Where bytes are, and how many."""
    from pybpf.bt.lower.expressions import pointed

    value = gen.read(node)
    if isinstance(value.type, Pointer):
        value = pointed(gen, value, value.type.target)
    return value.where(gen), value.type.size


# ntop


def _check_ntop(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    if len(arguments) > 1:
        check.integer(arguments[0], "an address family")
    found = _bytes_of(check, arguments[-1])
    if isinstance(found, (Integer, Nothing)) and not isinstance(check.read(check.type(arguments[-1])), Pointer):
        return INET
    if not isinstance(found, (Array, String, Compound)) or found.size not in _FAMILIES:
        check.fail(arguments[-1], f"ntop() is for an integer, or an array of {_V4} or {_V6} bytes, not {found.name}")
    return INET


def _ntop(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    family = gen.scalar(arguments[0]) if len(arguments) > 1 else None
    kind = gen.check.read(gen.type(arguments[-1]))
    if isinstance(kind, Integer):
        number = gen.scalar(arguments[-1])
        return _address(family, _V4, lambda to, offset: raw.store(gen, to, offset, _V4, number), gen)
    where, size = _place(gen, arguments[-1])
    return _address(family, size, lambda to, offset: where.copy(gen, to, offset, size), gen)


def _address(family: Operand | None, size: int, put: Any, gen: Gen) -> Value:
    """An address, zeros behind it."""
    start = _KEPT.__layout__.fields["packed"].offset

    def write(to: Operand, offset: int) -> None:
        raw.store(gen, to, offset, start, _FAMILIES[size] if family is None else family)
        raw.clear(gen, to, offset + start + size, _V6 - size)
        put(to, offset + start)

    return Made(INET, write)


# pton


def _packed(check: Checker, node: tree.Node, arguments: Arguments) -> bytes:
    text = text_of(check, arguments[0], "an address")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            pass
    check.fail(arguments[0], f"{text!r} is no address of the internet; write \"127.0.0.1\" or \"::1\", say")


def _check_pton(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    return Array(UINT8, len(_packed(check, node, arguments)))


def _pton(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Known(gen.type(node), _packed(gen.check, node, arguments))


# macaddr


def _check_macaddr(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    found = _bytes_of(check, arguments[0])
    if not isinstance(found, (Array, String, Nothing)) or (found.size != _MAC and not isinstance(found, Nothing)):
        check.fail(arguments[0], f"macaddr() is for an array of {_MAC} bytes, and this is {found.name}")
    if isinstance(found, Nothing) and check.facts.final:
        check.fail(arguments[0], f"what has the address is not known; cast it, as in macaddr((uint8[{_MAC}])x)")
    return MACADDR


def _macaddr(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    where, _ = _place(gen, arguments[0])
    return Made(MACADDR, lambda to, offset: where.copy(gen, to, offset, _MAC))


ROWS = (
    Function("ntop([family], address)", "an address of the internet, of version 4 or 6", _check_ntop, _ntop),
    Function("pton(text)", "the bytes of an address of the internet", _check_pton, _pton),
    Function("macaddr(address)", "the address of a network card", _check_macaddr, _macaddr),
)
