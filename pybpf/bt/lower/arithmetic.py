"""Arithmetic on integers and pointers: 64 bits, signed where an operand is; division as C does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.values import Scalar, Value, converted
from pybpf.bt.state.actions import Action
from pybpf.bt.syntax import tree
from pybpf.bt.types import Integer, Pointer, Type
from pybpf.lang.values.flow import Choice

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["binary"]

#: operator -> operation, unsigned and signed
_OPERATIONS = {
    "+": ("add", "add"), "-": ("sub", "sub"), "*": ("mul", "mul"), "/": ("udiv", "sdiv"), "%": ("umod", "smod"),
    "&": ("and", "and"), "|": ("or", "or"), "^": ("xor", "xor"), "<<": ("shl", "shl"), ">>": ("lshr", "ashr"),
}  # fmt: skip
_BY_ZERO = "division by zero; the result is 1"


def binary(gen: Gen, node: tree.Node, operator: str, left: Value, right: Value, kind: Type) -> Value:
    """``left operator right``, of the type that the checker has found."""
    if isinstance(kind, Pointer):
        return _moved(gen, operator, left, right, kind)
    signed = isinstance(kind, Integer) and kind.signed
    if operator in ("/", "%"):
        signed = any(isinstance(each.type, Integer) and each.type.signed and not each.type.flexible
                     for each in (left, right))  # fmt: skip
        operands = [converted(gen, each, Integer(8, signed)).operand(gen) for each in (left, right)]
        return Scalar(kind, _divided(gen, node, _OPERATIONS[operator][signed], *operands))
    name = _OPERATIONS[operator][signed]
    return Scalar(kind, gen.b.emit(name, left.operand(gen), right.operand(gen)))


def _moved(gen: Gen, operator: str, left: Value, right: Value, kind: Pointer) -> Value:
    """A pointer, so many of what it points to further on."""
    pointer, count = (left, right) if isinstance(left.type, Pointer) else (right, left)
    size = max(kind.target.size, 1)
    amount = count.operand(gen)
    if size != 1:
        amount = amount * size if isinstance(amount, int) else gen.b.emit("mul", amount, size)
    if operator == "-":
        amount = -amount if isinstance(amount, int) else gen.b.emit("neg", amount)
    return Scalar(kind, gen.b.emit("add", pointer.operand(gen), amount))


def _divided(gen: Gen, node: tree.Node, name: str, left: Operand, right: Operand) -> Operand:
    """A quotient or rest; where the divisor is 0, it is 1, and user space warns."""
    b = gen.b
    if isinstance(right, int) and right:
        return b.emit(name, left, right)
    found = Choice(b, 1)
    divide, by_zero, done = (b.new_block(each) for each in ("divide", "by_zero", "divided"))
    b.branch("ne", right, 0, divide, by_zero)
    gen.land(divide)
    found.set(b.emit(name, left, right))
    b.jump(done)
    gen.land(by_zero)
    gen.send(Action("warning", (), (node.span, _BY_ZERO)))
    b.jump(done)
    gen.land(done)
    return found.value
