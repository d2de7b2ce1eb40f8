"""Conditions: where ``if``, ``while``, ``and``, ``or``, ``not`` and comparisons go, and what they give as values."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.lang.front.holding import values_of
from pybpf.lang.front.variables import Unset
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, Test, truth
from pybpf.lang.values.memory import Maybe
from pybpf.lang.values.val import Val

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.front.variables import Env

__all__ = ["answers", "bool_op", "branch", "choose", "compare", "conditional", "negate"]

_COMPARE = MappingProxyType({
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Is: "is",
    ast.IsNot: "is not",
})  # fmt: skip


def branch(gen: Gen, node: ast.expr, yes: Block, no: Block) -> None:
    """End the block: to ``yes`` if the expression is true."""
    gen.b.line = gen.frame.where(node)
    if isinstance(node, ast.BoolOp):
        *first, last = node.values
        for each in first:
            more = gen.b.new_block("or" if isinstance(node.op, ast.Or) else "and")
            if isinstance(node.op, ast.Or):
                branch(gen, each, yes, more)
            else:
                branch(gen, each, more, no)
            gen.land(more)
            if not gen.b.reachable:
                return
        branch(gen, last, yes, no)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        branch(gen, node.operand, no, yes)
    elif isinstance(node, ast.Compare) and len(node.ops) > 1:
        _branch_chain(gen, node, yes, no)
    else:
        gen.branch_on(gen.value(node), yes, no, node)


def answers(env: Env, node: ast.AST) -> tuple[str, tuple[bool | None, bool | None]]:
    """The variable that a condition asks whether it is None, and whether it is there if it is true, and if it is false.

    None: that the condition does not say.
    """
    there: tuple[bool | None, bool | None] = (True, None)
    subject = node
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        subject, other = node.left, node.comparators[0]
        if isinstance(subject, ast.Constant):
            subject, other = other, subject
        none = isinstance(other, ast.Constant) and other.value is None
        equal = isinstance(node.ops[0], (ast.Is, ast.Eq))
        if not isinstance(other, ast.Constant) or not isinstance(node.ops[0], (ast.Is, ast.IsNot, ast.Eq, ast.NotEq)):
            return "", (None, None)
        there = (not equal, equal) if none else (True, None) if equal else (None, True)
    if isinstance(subject, ast.NamedExpr):
        subject = subject.target
    if not isinstance(subject, ast.Name):
        return "", (None, None)
    binding = env.get(subject.id)
    if subject is node or isinstance(node, ast.NamedExpr):
        val = None if binding is None or isinstance(binding, Unset) else binding.val
        if isinstance(val, Maybe) and val.is_true:
            there = (True, False)
    return subject.id, there


def _branch_chain(gen: Gen, node: ast.Compare, yes: Block, no: Block) -> None:
    left = gen.value(node.left)
    for index, (op, right_node) in enumerate(zip(node.ops, node.comparators)):
        right = gen.value(right_node)
        more = yes if index == len(node.ops) - 1 else gen.b.new_block("and")
        gen.branch_on(_compared(gen, left, op, right, node), more, no, node)
        if more is yes:
            return
        gen.land(more)
        if not gen.b.reachable:
            return
        left = right


def _compared(gen: Gen, left: Val, op: ast.cmpop, right: Val, at: ast.AST) -> Val:
    if isinstance(op, ast.In):
        return right.contains(gen, left, at)
    if isinstance(op, ast.NotIn):
        return negate(gen, right.contains(gen, left, at), at)
    return left.compare(gen, _COMPARE[type(op)], right, at)


def negate(gen: Gen, val: Val, at: ast.AST) -> Val:
    """``not val``"""
    if isinstance(val, Const):
        return Const(not val.value)
    if isinstance(val, Test):
        return val.negated()
    return Test("eq", val.operand if isinstance(val, Int) else truth(gen, val, at).operand, 0)


def compare(gen: Gen, node: ast.Compare) -> Val:
    """A comparison as a value."""
    if len(node.ops) == 1:
        left, right = values_of(gen, [node.left, node.comparators[0]])
        return _compared(gen, left, node.ops[0], right, node)
    yes, no = gen.b.new_block("true"), gen.b.new_block("false")
    branch(gen, node, yes, no)
    return _choice(gen, node, [(yes, lambda: Const(True)), (no, lambda: Const(False))])


def conditional(gen: Gen, node: ast.IfExp) -> Val:
    """``a if c else b``"""
    yes, no = gen.b.new_block("then"), gen.b.new_block("else")
    gen.branch(node.test, yes, no)
    return _choice(gen, node, [(yes, lambda: gen.value(node.body)), (no, lambda: gen.value(node.orelse))])


def bool_op(gen: Gen, node: ast.BoolOp) -> Val:
    """``a and b``, ``a or b``: the operand that decides, as in Python."""
    done = gen.b.new_block("done")
    either = isinstance(node.op, ast.Or)
    for each in node.values:
        val = gen.value(each)
        if each is node.values[-1]:
            gen.go(done, val)
            break
        more, decides = gen.b.new_block("or" if either else "and"), gen.b.new_block("decides")
        gen.branch_on(val, *((decides, more) if either else (more, decides)), each)
        gen.land(decides)
        gen.go(done, _decided(val, either))
        gen.land(more)
        if not gen.b.reachable:
            break
    return gen.land_value(done, node)


def _decided(val: Val, true: bool) -> Val:
    """A value that has turned out to be true, or false."""
    if not isinstance(val, Maybe):
        return val
    if true:
        return val.value
    return Const(None) if val.is_true else val


def _choice(gen: Gen, at: ast.AST, arms: Sequence[tuple[Block, Callable[[], Val]]]) -> Val:
    done = gen.b.new_block("done")
    for block, value in arms:
        gen.land(block)
        if gen.b.reachable:
            gen.go(done, value())
    return gen.land_value(done, at)


def choose(gen: Gen, test: Val, one: Val, other: Val, at: ast.AST) -> Val:
    """One of two values that have been computed."""
    if isinstance(test, Const):
        return one if test.value else other
    yes, no = gen.b.new_block("then"), gen.b.new_block("else")
    gen.branch_on(test, yes, no, at)
    return _choice(gen, at, [(yes, lambda: one), (no, lambda: other)])
