"""Two integers and an operator: which type the result has, and how it is computed; the table of docs/language.md."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from pybpf.compiler.ir import signed64
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, Literal, result
from pybpf.lang.values.limits import LIMITS
from pybpf.types import bool_

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.limits import Limits
    from pybpf.lang.values.val import Val

__all__ = ["MIXED", "binary"]

_PLAIN = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_MOST_EXPONENT = 64
#: What to write where no type holds the values of both.
MIXED = "convert one of them by u64(x) or s64(x)"


def binary(gen: Gen, op: str, left: Int, other: Val, at: ast.AST) -> Val:
    """``left op other``."""
    if isinstance(other, Const) and isinstance(other.value, float):
        gen.fail(at, "eBPF has no floating point: scale to integers, such as nanoseconds or thousandths")
    right = other.number(gen, at)
    if op in _PLAIN:
        if op in ("&", "|", "^") and left.kind is bool_ and right.kind is bool_:
            return Int(gen.b.emit(_PLAIN[op], left.operand, right.operand), bool_)
        return result(gen.b.emit(_PLAIN[op], left.operand, right.operand), _limits(op, left, right), left, right)
    if op in ("//", "%"):
        return _divide(gen, op, left, right, at)
    if op in ("<<", ">>"):
        return _shift(gen, op, left, right, at)
    if op == "**":
        return _power(gen, left, other, at)
    if op == "/":
        gen.fail(at, "'/' gives a float, which eBPF does not have: write '//' to divide integers")
    gen.fail(at, f"{left.what} does not support {op!r}: integers have + - * // % ** & | ^ << >>")


def _limits(op: str, left: Int, right: Int) -> Limits:
    return LIMITS[op](left.limits, right.limits)


def _shift(gen: Gen, op: str, left: Int, right: Int, at: ast.AST) -> Val:
    if isinstance(right, Literal) and not 0 <= right.value < 64:
        gen.fail(at, f"a shift by {right.value}: integers have 64 bits, so shift by 0 to 63")
    name = "shl" if op == "<<" else "ashr" if left.signed else "lshr"
    return result(gen.b.emit(name, left.operand, right.operand), _limits(op, left, right), left)


def _divide(gen: Gen, op: str, left: Int, right: Int, at: ast.AST) -> Val:
    if isinstance(right, Literal) and right.value == 0:
        gen.fail(at, "division by zero: Python would raise; divide by what is not 0")
    if not (left.signed or right.signed):
        operand: Operand = gen.b.emit("udiv" if op == "//" else "umod", left.operand, right.operand)
        return result(operand, _limits(op, left, right), left, right)
    if left.wide or right.wide:
        gen.fail(at, f"{op!r} of a u64 and a signed value has no 64-bit type for its result: {MIXED}")
    return result(_floor(gen, op, left.operand, right.operand), _limits(op, left, right), left, right)


def _floor(gen: Gen, op: str, left: Operand, right: Operand) -> Operand:
    """Python's signed division and modulo, which round down, from the machine's, which round towards zero."""
    emit = gen.b.emit
    right = signed64(right) if isinstance(right, int) else right
    if right == 0:
        return 0 if op == "//" else left
    if isinstance(right, int) and right > 0 and right & (right - 1) == 0:
        return emit("ashr", left, right.bit_length() - 1) if op == "//" else emit("and", left, right - 1)
    quotient = emit("sdiv", left, right)
    rest = emit("sub", left, emit("mul", quotient, right))
    if isinstance(right, int):
        off: Operand = emit("cmp", rest, 0, cond="slt" if right > 0 else "sgt")
    else:  # not where right is 0: the quotient is 0 and the rest is left
        uneven = emit("and", emit("cmp", rest, 0, cond="ne"), emit("cmp", right, 0, cond="ne"))
        off = emit("and", uneven, emit("cmp", emit("xor", rest, right), 0, cond="slt"))
    if op == "//":
        return emit("sub", quotient, off)
    return emit("add", rest, emit("mul", off, right))


def _power(gen: Gen, left: Int, other: Val, at: ast.AST) -> Val:
    if not isinstance(other, Const) or not isinstance(other.value, int):
        gen.fail(at, "'**' by a value of run time: write '1 << n' for powers of two, or a loop")
    exponent = other.value
    if not 0 <= exponent <= _MOST_EXPONENT:
        gen.fail(at, f"the exponent {exponent} is not in 0 to {_MOST_EXPONENT}")
    power: Val = Const(1)
    for bit in bin(exponent)[2:]:
        power = power.binary(gen, "*", power, at)
        if bit == "1":
            power = power.binary(gen, "*", left, at)
    return power
