"""Arithmetic on constants, as the kernel does it on 64 bits."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from pybpf.compiler.ir import signed64
from pybpf.compiler.ranges import MAX

__all__ = ["BINARY", "COMPARE", "compute", "extend"]


def _sdiv(left: int, right: int) -> int:
    quotient = abs(left) // abs(right) if right else 0
    return quotient if (left < 0) == (right < 0) else -quotient


#: Operation -> its result before it is cut to 64 bits, of operands as signed numbers.
BINARY: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "udiv": lambda left, right: (left & MAX) // (right & MAX) if right else 0,
    "umod": lambda left, right: (left & MAX) % (right & MAX) if right else left,
    "sdiv": _sdiv,
    "smod": lambda left, right: left - _sdiv(left, right) * right,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": lambda left, right: left << (right & 63),
    "lshr": lambda left, right: (left & MAX) >> (right & 63),
    "ashr": lambda left, right: left >> (right & 63),
}

#: Condition -> whether it holds, of operands as signed numbers.
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "slt": operator.lt,
    "sle": operator.le,
    "sgt": operator.gt,
    "sge": operator.ge,
    "ult": lambda left, right: left & MAX < right & MAX,
    "ule": lambda left, right: left & MAX <= right & MAX,
    "ugt": lambda left, right: left & MAX > right & MAX,
    "uge": lambda left, right: left & MAX >= right & MAX,
    "set": lambda left, right: left & right != 0,
    "clear": lambda left, right: left & right == 0,
}


def extend(value: int, bits: int, signed: bool = True) -> int:
    """The low bits of a value, sign- or zero-extended to 64."""
    value &= (1 << bits) - 1
    return signed64(value - (1 << bits) if signed and value >> (bits - 1) else value)


def _bswap(value: int, bits: int) -> int:
    return int.from_bytes((value & ((1 << bits) - 1)).to_bytes(bits // 8, "little"), "big")


_UNARY: dict[str, Callable[[int, Any], int]] = {
    "neg": lambda value, bits: -value,
    "zext": lambda value, bits: extend(value, bits, False),
    "sext": extend,
    "bswap": _bswap,
}


def compute(op: str, args: list[int], attrs: dict[str, Any]) -> int:
    """The result of an operation of arithmetic, extension or comparison on constants."""
    if op in BINARY:
        return signed64(BINARY[op](*args))
    if op == "cmp":
        return int(COMPARE[attrs["cond"]](*args))
    return signed64(_UNARY[op](args[0], attrs.get("bits")))
