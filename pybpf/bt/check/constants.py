"""Values that are known while compiling: literals, what is computed of them, parameters, enumerators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Union

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.literals import LiteralFault, integer

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker

__all__ = ["Value", "constant", "fold", "parameter"]

Value = Union[int, str, bool]
_BITS = 64


def constant(check: Checker, node: tree.Node) -> Value | None:
    """The value of an expression; None where it is not known."""
    how = _CONSTANT.get(type(node))
    return None if how is None else how(check, node)


def _literal(check: Checker, node: Any) -> Value | None:
    value: Value = node.value
    return value


def parameter(check: Checker, index: int) -> str:
    """The text of ``$1`` and so on; bpftrace has 0, or empty text, for those that were not given."""
    given = check.facts.arguments
    return given[index - 1] if index <= len(given) else ""


def _parameter(check: Checker, node: tree.Parameter) -> Value | None:
    text = parameter(check, node.index)
    if not text:
        check.warn(node, f"Positional parameter ${node.index} is empty or not provided.")
        return 0
    sign = -1 if text.startswith("-") else 1
    try:
        return sign * integer(text.lstrip("-"))
    except LiteralFault:
        return text


def _count(check: Checker, node: tree.ParameterCount) -> Value | None:
    return len(check.facts.arguments)


def _name(check: Checker, node: tree.Name) -> Value | None:
    from pybpf.bt.check.names import meaning

    found = meaning(check, node)
    if found is None or isinstance(found, tree.Node):
        return None if found is None else constant(check, found)
    return None if found.constant is None or found.least else found.constant(check, node, [])


def _unary(check: Checker, node: tree.Unary) -> Value | None:
    value = constant(check, node.operand)
    if value is None or isinstance(value, str):
        return None
    return {"-": -value, "!": not value, "~": ~value}.get(node.operator)


def _divided(left: int, right: int) -> int:
    """C's division: towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_ARITHMETIC: Mapping[str, Callable[[Any, Any], Value]] = MappingProxyType({
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divided,
    "%": lambda left, right: left - right * _divided(left, right),
    "&": lambda left, right: left & right,
    "|": lambda left, right: left | right,
    "^": lambda left, right: left ^ right,
    "<<": lambda left, right: left << right,
    ">>": lambda left, right: left >> right,
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "&&": lambda left, right: bool(left and right),
    "||": lambda left, right: bool(left or right),
})  # fmt: skip


def fold(operator: str, left: Value, right: Value) -> Value | None:
    """``left operator right``; None where it has no value, or none of 64 bits."""
    if isinstance(left, str) != isinstance(right, str) or (
        isinstance(left, str) and operator not in ("+", "==", "!=")
    ):
        return None
    if operator in ("/", "%") and not right:
        return None
    if operator in ("<<", ">>") and isinstance(right, int) and not 0 <= right < _BITS:
        return None
    value = _ARITHMETIC[operator](left, right)
    if isinstance(value, int) and not -(1 << (_BITS - 1)) <= value < 1 << _BITS:
        return None
    return value


def _binary(check: Checker, node: tree.Binary) -> Value | None:
    left = constant(check, node.left)
    if left is None:
        return None
    right = constant(check, node.right)
    return None if right is None else fold(node.operator, left, right)


def _conditional(check: Checker, node: tree.Conditional) -> Value | None:
    condition = constant(check, node.condition)
    if condition is None:
        return None
    chosen = (node.then or node.condition) if condition else node.otherwise
    return constant(check, chosen)


def _comptime(check: Checker, node: tree.Comptime) -> Value | None:
    return constant(check, node.value)


def _block(check: Checker, node: tree.Block) -> Value | None:
    return None if node.statements or node.value is None else constant(check, node.value)


def _sized(check: Checker, node: Any) -> Value | None:
    from pybpf.bt.check.sizes import size_of

    return size_of(check, node)


def _call(check: Checker, node: tree.Call) -> Value | None:
    from pybpf.bt.functions.table import FUNCTIONS

    row = FUNCTIONS.get(node.name)
    if row is None or row.constant is None or not row.takes(len(node.arguments)):
        return None
    return row.constant(check, node, node.arguments)


_CONSTANT: Mapping[type[tree.Node], Callable[[Checker, Any], Value | None]] = MappingProxyType({
    tree.Binary: _binary,
    tree.Block: _block,
    tree.Boolean: _literal,
    tree.Call: _call,
    tree.Comptime: _comptime,
    tree.Conditional: _conditional,
    tree.Integer: _literal,
    tree.Name: _name,
    tree.OffsetOf: _sized,
    tree.Parameter: _parameter,
    tree.ParameterCount: _count,
    tree.SizeOf: _sized,
    tree.String: _literal,
    tree.Unary: _unary,
})  # fmt: skip
