"""Bytes: ``buf()`` reads them from an address, or takes those of an array."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.lower.values import Made, Value
from pybpf.bt.syntax import tree
from pybpf.bt.types import Array, Buffer, Compound, Integer, Nothing, Pointer, String, Type
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when
from pybpf.lang.values.reading import KERNEL, USER, Where, probe_read

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["ROWS"]

#: where the bytes of a buffer begin, behind how many there are
_DATA = 4


def _check_buf(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    most = check.facts.settings.max_strlen
    kind = check.read(check.value(arguments[0]))
    whole = kind.size if isinstance(kind, (Array, String, Compound)) else 0
    if not isinstance(kind, (Integer, Pointer, Array, String, Compound, Nothing)):
        check.fail(arguments[0], f"buf() reads bytes at an address, and this is {kind.name}")
    if len(arguments) == 1:
        if not whole and not isinstance(kind, Nothing):
            check.fail(node, f"how many bytes are at a {kind.name} is not known; write buf(address, length)")
        return Buffer(max(min(whole, most), 1))
    check.integer(arguments[1], "the length of buf()")
    size = check.constant(arguments[1])
    if size is None:
        return Buffer(most)
    if not isinstance(size, int) or not 0 < size <= most:
        check.fail(arguments[1], f"buf() reads 1 to {most} bytes (max_strlen), not {size}")
    return Buffer(size)


def _buf(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    kind = gen.type(node)
    assert isinstance(kind, Buffer)
    where = _place(gen, gen.read(arguments[0]))
    size: Operand = kind.room
    if len(arguments) > 1 and gen.constant(arguments[1]) is None:
        wanted = gen.scalar(arguments[1])
        shorter = Choice(gen.b, kind.room)
        with when(gen.b, "ult", wanted, kind.room, "shorter"):
            shorter.set(wanted)
        size = shorter.value

    def write(to: Operand, offset: int) -> None:
        raw.store(gen, to, offset, _DATA, size)
        if isinstance(size, int):
            where.copy(gen, to, offset + _DATA, size)
        else:
            target = raw.pointer(gen, to, offset + _DATA)
            gen.b.emit("call", target, size, where.pointer(gen), helper=probe_read(gen, where.space))

    return Made(kind, write, clean=False)


def _place(gen: Gen, value: Value) -> Where:
    """Where the bytes are."""
    if not value.type.scalar:
        return value.where(gen)
    space = value.type.space if isinstance(value.type, Pointer) else ""
    space = space or gen.check.place.arguments.space
    return Where(value.operand(gen), 0, USER if space == USER else KERNEL)


ROWS = (Function("buf(address, [length])", "the bytes at an address, or of an array", _check_buf, _buf),)
