"""What probes that are made from C call beside the builtins of :mod:`pybpf.lang`: text of whatever it is, STRCMP."""

from __future__ import annotations

import ast
from typing import Any

from pybpf.lang.builtins.builtin import Lowering, builtin, meant_for_probes
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.ints import Int
from pybpf.lang.values.memory import owned
from pybpf.lang.values.pointers import Pointer, Text
from pybpf.lang.values.reading import KERNEL, USER, Where
from pybpf.lang.values.val import Val
from pybpf.types import array_of, char, u8

__all__ = ["kernel_text", "same_bytes", "starts_with", "user_text"]


def _where(gen: Gen, value: Val, space: str) -> Where | None:
    """The place that a pointer or a number leads to; None for what is text itself."""
    if isinstance(value, Pointer):
        return value.where._replace(direct=None, typed=False)
    return Where(value.operand, space=space) if isinstance(value, Int) else None


def _text(space: str) -> Lowering:
    def lower(gen: Gen, at: ast.AST, value: Val) -> Val:
        where = _where(gen, value, space)
        return value if where is None else Text(where, None)

    return lower


@builtin(_text(KERNEL))
def kernel_text(value: Any) -> str:
    """Text: what a pointer leads to, a number as an address of the kernel, or text itself."""
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
    return kept.startswith(gen, data, at)  # type: ignore[no-any-return]


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
    return kept.startswith(gen, data, at)  # type: ignore[no-any-return]


@builtin(_same_bytes)
def same_bytes(value: Any, wanted: bytes, user: bool) -> bool:
    """``STRCMP({0x6C, 0x69}, value)``: whether these bytes are at an address."""
    meant_for_probes()
