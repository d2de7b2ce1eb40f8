"""Lower ``sdiv`` and ``smod`` where the target has no opcodes for them: divide magnitudes, then give the sign.

With ``s = x >> 63`` (0 or -1), ``(x ^ s) - s`` is the magnitude of ``x``, and of a magnitude the number of that sign.
"""

from __future__ import annotations

from pybpf.compiler.ir import Instr, Operand, Unit
from pybpf.compiler.rewrite import Rewriter, lower
from pybpf.compiler.target import Target

__all__ = ["lower_division"]


def lower_division(unit: Unit, target: Target) -> None:
    """Leave no ``sdiv`` and ``smod`` that the target lacks."""
    if not target.has("cpu_v4"):
        lower(unit, target, {"sdiv": _sdiv, "smod": _smod})


def _sign(to: Rewriter, value: Operand) -> Operand:
    if isinstance(value, int):
        return value >> 63
    return to.emit("ashr", value, 63)


def _signed(to: Rewriter, value: Operand, sign: Operand) -> Operand:
    """The magnitude of a value with that sign, or the other way round."""
    if isinstance(sign, int):
        return value if sign == 0 else to.emit("neg", value)
    return to.emit("sub", to.emit("xor", value, sign), sign)


def _sdiv(to: Rewriter, instr: Instr) -> Operand:
    left, right = instr.args
    of_left, of_right = _sign(to, left), _sign(to, right)
    quotient = to.emit("udiv", _signed(to, left, of_left), _signed(to, right, of_right))
    if isinstance(of_right, int):
        sign = of_left if of_right == 0 else to.emit("xor", of_left, -1)
    else:
        sign = to.emit("xor", of_left, of_right)
    return _signed(to, quotient, sign)


def _smod(to: Rewriter, instr: Instr) -> Operand:
    left, right = instr.args
    of_left = _sign(to, left)
    rest = to.emit("umod", _signed(to, left, of_left), _signed(to, right, _sign(to, right)))
    return _signed(to, rest, of_left)
