"""``enumerate``, ``zip``, ``reversed`` and ``sorted``: of a fixed number of elements, which are written out."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.front.ranges import Range
from pybpf.lang.values.constants import Const
from pybpf.lang.values.tuples import Tuple
from pybpf.lang.values.val import Val

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen

__all__ = ["SEQUENCES"]

#: Elements that are written out at most.
_MOST = 256
#: Function -> what to write where a range is too long, or of run time.
_INSTEAD = {
    "enumerate": "count in a variable of its own",
    "zip": "write 'for i in range(n):' and index each by i",
    "reversed": "write 'range(last, first - 1, -1)'",
    "sorted": "sort in Python what the probe sends",
}


def _elements(gen: Gen, name: str, over: Val, at: ast.AST) -> Sequence[Val]:
    if isinstance(over, Range) and (over.constant is None or len(over.constant) > _MOST):
        length = "of run time" if over.constant is None else f"of {len(over.constant)} numbers"
        gen.fail(at, f"{name}() of a range {length} is not compiled: {_INSTEAD[name]}")
    found = over.elements(gen, at)
    if len(found) > _MOST:
        gen.fail(at, f"{name}() of {len(found)} values is not compiled, {_MOST} are the most: {_INSTEAD[name]}")
    return found


def _enumerate(gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
    start = named.get("start", args[1] if len(args) == 2 else Const(0))
    first = gen.const(start)
    if not 1 <= len(args) <= 2 or named.keys() - {"start"} or not isinstance(first, int):
        gen.fail(at, "enumerate() takes a sequence, and a constant to start at")
    values = _elements(gen, "enumerate", args[0], at)
    return Tuple([Tuple([Const(number), value]) for number, value in enumerate(values, first)])


def _zip(gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
    strict = gen.const(named.get("strict", Const(False)))
    if named.keys() - {"strict"} or not isinstance(strict, bool):
        gen.fail(at, "zip() takes sequences, and strict=True or False")
    rows = [_elements(gen, "zip", each, at) for each in args]
    if strict and len({len(row) for row in rows}) > 1:
        gen.fail(at, f"zip() of sequences of {', '.join(str(len(row)) for row in rows)} elements, which strict forbids")
    return Tuple([Tuple(column) for column in zip(*rows)])


def _reversed(gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
    if len(args) != 1 or named:
        gen.fail(at, "reversed() takes one sequence")
    return Tuple(_elements(gen, "reversed", args[0], at)[::-1])


def _sorted(gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
    values = _elements(gen, "sorted", args[0], at) if len(args) == 1 else ()
    if len(args) != 1 or named.keys() - {"reverse"} or not all(isinstance(each, Const) for each in values):
        gen.fail(at, f"sorted() takes constants in a probe, and no key: {_INSTEAD['sorted']}")
    known = [gen.const(each) for each in values]
    try:
        known.sort(reverse=bool(gen.const(named.get("reverse", Const(False)))))
    except TypeError as error:
        gen.fail(at, f"Python cannot compute this: {error}")
    return Const(tuple(known))


#: Function of Python -> what compiles a call of it.
SEQUENCES: Mapping[Any, Callable[[Gen, Sequence[Val], Mapping[str, Val], ast.AST], Val]] = MappingProxyType(
    {enumerate: _enumerate, zip: _zip, reversed: _reversed, sorted: _sorted}
)
