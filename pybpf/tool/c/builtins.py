"""What probes that are made from C call beside the builtins of :mod:`pybpf.lang`: text of whatever it is, STRCMP."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from pybpf.lang.builtins.builtin import Lowering, builtin, meant_for_probes
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.flow import when
from pybpf.lang.values.ints import Int
from pybpf.lang.values.memory import owned
from pybpf.lang.values.pointers import Pointer, Text
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.val import Val
from pybpf.types import array_of, char, u8

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand

__all__ = ["kernel_text", "same_bytes", "starts_with", "user_text"]


def _where(gen: Gen, value: Val, space: str) -> Where | None:
    """The place that a pointer or a number leads to; None for what is text itself."""
    if isinstance(value, Pointer):
        return value.where._replace(direct=None, typed=False)
    return Where(value.operand, space=space) if isinstance(value, Int) else None


class _TextByAddress(Text):
    """Text of which nobody says whose memory it is in: the address tells that."""

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        number = self.where.number(gen)
        of_kernel = gen.b.emit("and", gen.b.emit("lshr", number, gen.target.arch.kernel_bit), 1)
        for space, bit in ((KERNEL, 1), (USER, 0)):
            with when(gen.b, "eq", of_kernel, bit, space):
                Text(Where(number, space=space), self.most).store(gen, address, offset, kind, at)


def _text(space: str) -> Lowering:
    def lower(gen: Gen, at: ast.AST, value: Val) -> Val:
        where = _where(gen, value, space)
        if where is None:
            return value
        return _TextByAddress(where, None) if where.space == KERNEL else Text(where, None)

    return lower


@builtin(_text(KERNEL))
def kernel_text(value: Any) -> str:
    """Text: what a pointer or a number leads to, in the kernel or the process, as the address says; or text itself."""
    meant_for_probes()


@builtin(_text(USER))
def user_text(value: Any) -> str:
    """The same where a number is an address of the process."""
    meant_for_probes()


def _starts_with(gen: Gen, at: ast.AST, value: Val, prefix: Val) -> Val:
    wanted = gen.const(prefix)
    if not isinstance(wanted, str) or not wanted:
        gen.fail(at, "STRCMP compares with text in quotation marks that is not empty")
    data = wanted.encode("utf-8", "surrogateescape")
    kept: Any = owned(gen, array_of(char, len(data) + 1), at)
    kept.put(gen, value, at)
    return kept.starts(gen, data, at)  # type: ignore[no-any-return]


@builtin(_starts_with)
def starts_with(value: Any, prefix: str) -> bool:
    """``STRCMP("prefix", value)`` of text: whether it begins so."""
    meant_for_probes()


def _same_bytes(gen: Gen, at: ast.AST, value: Val, wanted: Val, user: Val) -> Val:
    data = gen.const(wanted)
    where = _where(gen, value, USER if gen.const(user) else KERNEL)
    if not isinstance(data, bytes) or not data or where is None:
        gen.fail(at, "STRCMP of bytes compares what an address leads to with bytes, {0x6C, 0x69}")
    kept: Any = owned(gen, array_of(u8, len(data)), at)
    where.copy(gen, kept.address, kept.offset, len(data))
    return kept.starts(gen, data, at)  # type: ignore[no-any-return]


@builtin(_same_bytes)
def same_bytes(value: Any, wanted: bytes, user: bool) -> bool:
    """``STRCMP({0x6C, 0x69}, value)``: whether these bytes are at an address."""
    meant_for_probes()
