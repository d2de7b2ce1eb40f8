"""Conditions: where ``if``, ``while``, ``and``, ``or``, ``not`` and comparisons go, and what they give as values."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, Test, join, settled, truth
from pybpf.lang.values.val import Val

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen

__all__ = ["asked", "bool_op", "branch", "choose", "compare", "conditional", "negate"]

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


def asked(node: ast.AST) -> tuple[str, bool] | None:
    """The variable that a condition asks whether it is None, and whether it is not where the condition is true."""
    there, subject = True, node
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        right = node.comparators[0]
        if not (isinstance(right, ast.Constant) and right.value is None):
            return None
        if not isinstance(node.ops[0], (ast.Is, ast.IsNot, ast.Eq, ast.NotEq)):
            return None
        there, subject = isinstance(node.ops[0], (ast.IsNot, ast.NotEq)), node.left
    if isinstance(subject, ast.NamedExpr):
        subject = subject.target
    return (subject.id, there) if isinstance(subject, ast.Name) else None


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
        return _compared(gen, gen.value(node.left), node.ops[0], gen.value(node.comparators[0]), node)
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
    chosen = _Chosen(gen)
    done = gen.b.new_block("done")
    for each in node.values:
        val = gen.value(each)
        if each is node.values[-1]:
            chosen.add(val)
            gen.go(done)
            break
        more = gen.b.new_block("or" if isinstance(node.op, ast.Or) else "and")
        decides = gen.b.new_block("decides")
        if isinstance(node.op, ast.Or):
            gen.branch_on(val, decides, more, each)
        else:
            gen.branch_on(val, more, decides, each)
        gen.land(decides)
        if gen.b.reachable:
            chosen.add(val)
            gen.go(done)
        gen.land(more)
        if not gen.b.reachable:
            break
    gen.land(done)
    return chosen.value(node)


def _choice(gen: Gen, at: ast.AST, arms: Sequence[tuple[Block, Callable[[], Val]]]) -> Val:
    chosen = _Chosen(gen)
    done = gen.b.new_block("done")
    for block, value in arms:
        gen.land(block)
        if gen.b.reachable:
            chosen.add(value())
            gen.go(done)
    gen.land(done)
    return chosen.value(at)


def choose(gen: Gen, test: Val, one: Val, other: Val, at: ast.AST) -> Val:
    """One of two values that have been computed."""
    if isinstance(test, Const):
        return one if test.value else other
    yes, no = gen.b.new_block("then"), gen.b.new_block("else")
    gen.branch_on(test, yes, no, at)
    return _choice(gen, at, [(yes, lambda: one), (no, lambda: other)])


class _Chosen:
    """Values of which one is taken, each added where it is: at the end of its block."""

    def __init__(self, gen: Gen) -> None:
        self.gen = gen
        self.vals: list[Val] = []

    def add(self, val: Val) -> None:
        val = val.kept(self.gen)
        self.vals.append(val)
        state = val.ssa()
        operands = state[1] if state else ()
        if isinstance(val, Const) and isinstance(val.value, int) and -(1 << 63) <= val.value < 1 << 64:
            operands = (int(val.value),)
        for index, operand in enumerate(operands):
            self.gen.b.write((self, index), operand)

    def value(self, at: ast.AST) -> Val:
        """Where all ways have joined."""
        gen = self.gen
        first = next((each for each in self.vals if not each.sure), self.vals[0])
        if all(each is first or _equal(each, first) for each in self.vals):
            return first
        if all(isinstance(each, Int) or (isinstance(each, Const) and isinstance(each.value, int))
               for each in self.vals):  # fmt: skip
            kind = None
            for each in self.vals:
                number = each.number(gen, at)
                both = number.narrowest if kind is None else join(kind, number.narrowest)
                if both is None:
                    gen.fail(at, "this is a u64 or a signed value, depending on the way: convert one by u64(x) or "
                             "s64(x)")  # fmt: skip
                kind = both
            return Int(gen.b.read((self, 0)), settled(kind))
        states = [each.ssa() for each in self.vals]
        if states[0] is not None and all(each is not None and each[0] == states[0][0] for each in states):
            return first.with_ssa([gen.b.read((self, index)) for index in range(len(states[0][1]))])
        other = next(each for each in self.vals[1:] if each is not first)
        gen.fail(at, f"this is {first.what} or {other.what}, depending on the way: write an if statement")


def _equal(one: Val, other: Val) -> bool:
    from pybpf.lang.front.variables import Known, join_bindings

    return isinstance(join_bindings(Known(one), Known(other)), Known)
