"""The least and the greatest value that the result of an operation can have, from those of its operands.

All of it is Python's own arithmetic: what does not fit 64 bits is for :mod:`pybpf.lang.values.arithmetic` to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = ["LIMITS", "Limits", "limits_of_unary"]

#: (least, greatest)
Limits = tuple[int, int]

#: The greatest count of a shift: counts are taken modulo 64.
_MOST_SHIFTED = 63


def _add(a: Limits, b: Limits) -> Limits:
    return a[0] + b[0], a[1] + b[1]


def _sub(a: Limits, b: Limits) -> Limits:
    return a[0] - b[1], a[1] - b[0]


def _mul(a: Limits, b: Limits) -> Limits:
    corners = [one * other for one in a for other in b]
    return min(corners), max(corners)


def _and(a: Limits, b: Limits) -> Limits:
    tops = [high for low, high in (a, b) if low >= 0]
    return (0, min(tops)) if tops else (_bits(a, b)[0], max(a[1], b[1]))


def _or(a: Limits, b: Limits) -> Limits:
    low, high = _bits(a, b)
    return (low if min(a[0], b[0]) < 0 else 0), high


def _bits(a: Limits, b: Limits) -> Limits:
    """What has as many bits as the larger operand, of either sign."""
    top = 1 << max(each.bit_length() if each >= 0 else (~each).bit_length() for each in (*a, *b))
    return -top, top - 1


def _floordiv(a: Limits, b: Limits) -> Limits:
    divisors = [each for each in (*b, -1, 1) if each and b[0] <= each <= b[1]]
    corners = [one // other for one in a for other in divisors]
    if b[0] <= 0 <= b[1]:
        corners.append(0)
    return min(corners), max(corners)


def _mod(a: Limits, b: Limits) -> Limits:
    low, high = min(0, b[0] + 1), max(0, b[1] - 1)
    if a[0] >= 0 and b[0] >= 0:
        high = min(high, a[1])
    if b[0] <= 0 <= b[1]:  # x % 0 is x
        low, high = min(low, a[0]), max(high, a[1])
    return low, high


def _shifts(b: Limits) -> Limits:
    return b if b[0] >= 0 and b[1] <= _MOST_SHIFTED else (0, _MOST_SHIFTED)


def _lshift(a: Limits, b: Limits) -> Limits:
    return _mul(a, tuple(1 << each for each in _shifts(b)))  # type: ignore[arg-type]


def _rshift(a: Limits, b: Limits) -> Limits:
    corners = [one >> other for one in a for other in _shifts(b)]
    return min(corners), max(corners)


#: Python's operator -> the limits of the result.
LIMITS: Mapping[str, Callable[[Limits, Limits], Limits]] = MappingProxyType({
    "+": _add, "-": _sub, "*": _mul, "&": _and, "|": _or, "^": _or, "//": _floordiv, "%": _mod, "<<": _lshift,
    ">>": _rshift,
})  # fmt: skip


def limits_of_unary(op: str, of: Limits) -> Limits:
    """The limits of ``+x``, ``-x``, ``~x``."""
    if op == "+":
        return of
    return (-of[1], -of[0]) if op == "-" else (~of[1], ~of[0])
