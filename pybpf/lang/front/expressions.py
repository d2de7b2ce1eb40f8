"""Expressions: a table from the class of an AST node to what compiles it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.builtins.printing import formatted
from pybpf.lang.front.conditions import bool_op, compare, conditional, negate
from pybpf.lang.front.holding import values_of
from pybpf.lang.front.scope import NameIsUnset, look_up
from pybpf.lang.values.constants import Const
from pybpf.lang.values.tuples import Tuple

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["EXPRESSIONS", "OPERATORS"]

#: Class of an operator -> how Python writes it.
OPERATORS: Mapping[type[ast.AST], str] = MappingProxyType({
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|",
    ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>", ast.Pow: "**", ast.Div: "/", ast.MatMult: "@",
    ast.UAdd: "+", ast.USub: "-", ast.Invert: "~",
})  # fmt: skip


def _constant(gen: Gen, node: ast.Constant) -> Val:
    return gen.wrap(node.value)


def _name(gen: Gen, node: ast.Name) -> Val:
    bound = gen.variable(node.id, node)
    if bound is not None:
        return bound
    try:
        return gen.wrap(look_up(gen.frame.source.function, node.id))
    except NameIsUnset as error:
        gen.fail(node, str(error))


def _attribute(gen: Gen, node: ast.Attribute) -> Val:
    return gen.value(node.value).attr(gen, node.attr, node)


def _subscript(gen: Gen, node: ast.Subscript) -> Val:
    value = gen.value(node.value)
    return value.item(gen, gen.value(node.slice), node)


def _slice(gen: Gen, node: ast.Slice) -> Val:
    parts = [Const(None) if each is None else gen.value(each) for each in (node.lower, node.upper, node.step)]
    for part, at in zip(parts, (node.lower, node.upper, node.step)):
        if not isinstance(part, Const):
            gen.fail(at or node, "the ends of a slice are constants: memory has a fixed length in eBPF; of a loop over "
                     "(0, 1, 2), which is written out, the variable is one")  # fmt: skip
    return Const(slice(*(gen.const(each) for each in parts)))


def _call(gen: Gen, node: ast.Call) -> Val:
    function = gen.value(node.func)
    for keyword in node.keywords:
        if keyword.arg is None:
            gen.fail(keyword.value, "'**' in a call is not compiled: name each argument")
    values = values_of(gen, [*node.args, *(keyword.value for keyword in node.keywords)])
    given = len(values) - len(node.keywords)
    args = values[:given]
    named = {keyword.arg: value for keyword, value in zip(node.keywords, values[given:]) if keyword.arg}
    gen.b.line = gen.frame.where(node)
    return function.call(gen, args, named, node)


def _binary(gen: Gen, node: ast.BinOp) -> Val:
    left, right = gen.value(node.left), gen.value(node.right)
    return left.binary(gen, OPERATORS[type(node.op)], right, node)


def _unary(gen: Gen, node: ast.UnaryOp) -> Val:
    value = gen.value(node.operand)
    if isinstance(node.op, ast.Not):
        return negate(gen, value, node)
    return value.unary(gen, OPERATORS[type(node.op)], node)


def _tuple(gen: Gen, node: Any) -> Val:
    values = values_of(gen, node.elts)
    if all(isinstance(each, Const) for each in values):
        return Const(tuple(gen.const(each) for each in values))
    return Tuple(values)


def _walrus(gen: Gen, node: ast.NamedExpr) -> Val:
    value = gen.value(node.value)
    gen.assign(node.target.id, value, node)
    bound = gen.variable(node.target.id, node)
    assert bound is not None
    return bound


EXPRESSIONS: Mapping[type[ast.AST], Callable[[Gen, Any], Val]] = MappingProxyType({
    ast.Attribute: _attribute,
    ast.BinOp: _binary,
    ast.BoolOp: bool_op,
    ast.Call: _call,
    ast.Compare: compare,
    ast.Constant: _constant,
    ast.IfExp: conditional,
    ast.JoinedStr: formatted,
    ast.List: _tuple,
    ast.Name: _name,
    ast.NamedExpr: _walrus,
    ast.Set: _tuple,
    ast.Slice: _slice,
    ast.Subscript: _subscript,
    ast.Tuple: _tuple,
    ast.UnaryOp: _unary,
})  # fmt: skip
