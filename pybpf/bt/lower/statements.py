"""Statements: a table from the class of a node to what compiles it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.bt.lower import arithmetic, variables
from pybpf.bt.lower.maps import read_entry, store_entry
from pybpf.bt.lower.turns import MOST_TURNS, counted, loop
from pybpf.bt.lower.values import Known, Scalar, Value
from pybpf.bt.state.actions import Action
from pybpf.bt.syntax import tree
from pybpf.bt.types import INT64, Aggregate

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen

__all__ = ["STATEMENTS"]


def _evaluate(gen: Gen, node: tree.Evaluate) -> None:
    gen.value(node.value)


def _discard(gen: Gen, node: tree.Discard) -> None:
    gen.value(node.value)


def _assign(gen: Gen, node: tree.Assign) -> None:
    if isinstance(node.target, tree.Variable):
        variable = gen.checked.variables[node.target]
        value = gen.read(node.value)
        if node.operator:
            value = _computed(gen, node, variables.read(gen, variable), value)
        variables.write(gen, variable, value)
        return
    if isinstance(gen.checked.types.get(node.value), Aggregate) and not isinstance(
        node.value, (tree.Map, tree.MapAccess)
    ):
        _aggregate(gen, node.target, node.value)
        return
    value = gen.read(node.value)
    if node.operator:
        value = _computed(gen, node, read_entry(gen, node.target), value)
    store_entry(gen, node.target, value)


def _aggregate(gen: Gen, target: tree.Map | tree.MapAccess, node: tree.Expression) -> None:
    from pybpf.bt.lower.aggregates import update

    while isinstance(node, tree.Block):
        for each in node.statements:
            gen.statement(each)
        assert node.value is not None
        node = node.value
    arguments = node.arguments if isinstance(node, tree.Call) else []
    value: Value = gen.read(arguments[0]) if arguments else Scalar(INT64, 1)
    update(gen, target, value)


def _computed(gen: Gen, node: tree.Assign, left: Value, right: Value) -> Value:
    """``left operator right`` of a compound assignment."""
    from pybpf.bt.check.expressions import combined

    kind = combined(gen.check, node, node.operator, left.type, right.type)
    return arithmetic.binary(gen, node, node.operator, left, right, kind)


def _declare(gen: Gen, node: tree.Declare) -> None:
    variable = gen.checked.variables[node]
    if node.value is not None:
        variables.write(gen, variable, gen.read(node.value))
    elif variable.type is not None:
        zero = Scalar(variable.type, 0) if variable.type.scalar else Known(variable.type, b"")
        variables.write(gen, variable, zero)


def _while(gen: Gen, node: tree.While) -> None:
    loop(
        gen, lambda body, over: gen.branch(node.condition, body, over), lambda: _body(gen, node.body),
        cut=lambda: _cut(gen, node),
    )  # fmt: skip


def _cut(gen: Gen, node: tree.Node) -> None:
    """Say that a loop had to end."""
    gen.send(Action("warning", (), (node.span, f"the loop has ended after {MOST_TURNS} turns, the most there can be")))


def _body(gen: Gen, node: tree.Block) -> None:
    gen.block(node)


def _unroll(gen: Gen, node: tree.Unroll) -> None:
    count = gen.constant(node.count)
    assert isinstance(count, int)
    from pybpf.bt.lower.gen import Loop

    leave = gen.b.new_block("unrolled")
    for _ in range(count):
        following = gen.b.new_block("turn")
        gen.loops.append(Loop(leave, following))
        _body(gen, node.body)
        gen.loops.pop()
        gen.b.jump(following)
        gen.land(following)
    gen.b.jump(leave)
    gen.land(leave)


def _for(gen: Gen, node: tree.For) -> None:
    variable = gen.checked.variables[node.variable]
    if isinstance(node.iterable, tree.Map):
        from pybpf.bt.lower.entries import each_entry

        each_entry(gen, node, variable)
        return
    ends = []
    for end in (node.iterable.start, node.iterable.end):
        known = gen.constant(end)
        ends.append(known if isinstance(known, int) else gen.scalar(end))

    def turn(number: Any) -> None:
        variables.write(gen, variable, Scalar(INT64, number))
        _body(gen, node.body)

    counted(gen, ends[0], ends[1], turn, cut=lambda: _cut(gen, node))


def _break(gen: Gen, node: tree.Break) -> None:
    gen.b.jump(gen.loops[-1].leave)


def _continue(gen: Gen, node: tree.Continue) -> None:
    gen.b.jump(gen.loops[-1].again)


def _return(gen: Gen, node: tree.Return) -> None:
    if gen.calls:
        call = gen.calls[-1]
        if call.result is not None:
            assert node.value is not None
            variables.write(gen, call.result, gen.read(node.value))
        gen.b.jump(call.leave)
        return
    gen.leave(0 if node.value is None else gen.scalar(node.value))


STATEMENTS: Mapping[type[tree.Node], Callable[[Gen, Any], None]] = MappingProxyType({
    tree.Assign: _assign,
    tree.Break: _break,
    tree.Continue: _continue,
    tree.Declare: _declare,
    tree.Discard: _discard,
    tree.Evaluate: _evaluate,
    tree.For: _for,
    tree.Return: _return,
    tree.Unroll: _unroll,
    tree.While: _while,
})  # fmt: skip
