"""Statements: a table from the class of a node to what checks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pybpf.bt.check.checker import Checker, article, written_name
from pybpf.bt.check.expressions import combined
from pybpf.bt.check.sizes import written
from pybpf.bt.syntax import tree
from pybpf.bt.types import Aggregate, Integer, Nothing, Pointer, Tuple, Type, fits

__all__ = ["STATEMENTS"]

#: expressions that do something, beside having a value
_ACTING = (tree.Step, tree.Block, tree.If, tree.Conditional, tree.Inlined)
#: functions that do so
_DOING = frozenset({"delete", "find"})
#: bpftrace's bound of unroll
_MOST_UNROLLED = 100
#: turns of those inside of each other: each is compiled
_MOST_TURNS = 10_000


def _evaluate(check: Checker, node: tree.Evaluate) -> None:
    found = check.type(node.value)
    if not _acts(node.value) and not isinstance(found, Nothing):
        check.warn(node, "This value is not used; write _ = ... if that is meant")


def _acts(node: tree.Expression) -> bool:
    """Whether an expression does something, or may, beside having a value."""
    from pybpf.bt.functions.table import FUNCTIONS

    if isinstance(node, tree.Call):
        row = FUNCTIONS.get(node.name)
        return row is None or row.unsafe or node.name in _DOING
    return isinstance(node, _ACTING)


def _discard(check: Checker, node: tree.Discard) -> None:
    check.value(node.value)


def _assign(check: Checker, node: tree.Assign) -> None:
    if isinstance(node.target, tree.Variable):
        _assign_variable(check, node, node.target)
        return
    facts = check.map_key(node.target)
    found = _aggregate(check, node.value)
    if found is not None:
        if node.operator:
            check.fail(node, f"{found.way}() is assigned by '=' alone")
        check.give_value(facts, found, node)
        return
    found_type = check.value(node.value)
    if isinstance(found_type, Aggregate):
        found_type = check.read(found_type)
    if node.operator:
        if isinstance(facts.value, Aggregate):
            check.fail(node, f"@{facts.name} is a {facts.value.way}(), which '{node.operator}=' cannot change")
        found_type = _compound(check, node, facts.value, found_type)
    check.give_value(facts, found_type, node)
    check.checked.types[node.target] = facts.value or found_type


def _aggregate(check: Checker, node: tree.Expression) -> Aggregate | None:
    """The aggregate that ``count()`` and its like make of a map; also as the value of a block."""
    from pybpf.bt.functions.table import FUNCTIONS

    if isinstance(node, tree.Block) and node.value is not None and _may_aggregate(node.value):
        with check.scope():
            for each in node.statements:
                check.statement(each)
            inner = _aggregate(check, node.value)
        if inner is not None:
            check.checked.types[node] = inner
        return inner
    name = node.name if isinstance(node, (tree.Call, tree.Name)) else ""
    row = FUNCTIONS.get(name)
    if row is None or row.aggregate is None:
        return None
    arguments = node.arguments if isinstance(node, tree.Call) else []
    row.count(check, node, arguments)
    found = row.aggregate(check, node, arguments)
    check.checked.types[node] = found
    return found


def _may_aggregate(node: tree.Expression) -> bool:
    from pybpf.bt.functions.table import FUNCTIONS

    if isinstance(node, tree.Block):
        return node.value is not None and _may_aggregate(node.value)
    row = FUNCTIONS.get(node.name) if isinstance(node, (tree.Call, tree.Name)) else None
    return row is not None and row.aggregate is not None


def _compound(check: Checker, node: tree.Assign, have: Type | None, found: Type) -> Type:
    """The type of ``target operator= value``."""
    for each in (have, found):
        if each is not None and not isinstance(each, Nothing) and not check.read(each).scalar:
            check.fail(node, f"'{node.operator}=' is for integers and pointers, not {article(each)}")
    if have is None or isinstance(have, Nothing) or isinstance(found, Nothing):
        return found
    return combined(check, node, node.operator, check.read(have), check.read(found))


def _assign_variable(check: Checker, node: tree.Assign, target: tree.Variable) -> None:
    if _aggregate(check, node.value) is not None:
        check.fail(node.value, f"aggregates are values of maps; write @x = ... instead of ${written_name(target.name)}")
    found = check.value(node.value)
    if node.operator:
        variable = check.variable(target)
        found = _compound(check, node, variable.type, found)
    else:
        known = check.find(target.name)
        variable = known if known is not None else check.declare(target, target.name)
    check.checked.variables[target] = variable
    check.give(variable, found, node)


def _declare(check: Checker, node: tree.Declare) -> None:
    name = node.variable.name
    found = check.value(node.value) if node.value is not None else None
    if check.in_this_block(name):
        check.fail(node, f"this block has a variable ${written_name(name)} already; assign to it without 'let'")
    variable = check.declare(node, name)
    check.checked.variables[node.variable] = variable
    if node.type is not None:
        kind = written(check, node.type)
        if isinstance(kind, Nothing):  # typeof() of what has no type yet
            if check.facts.final:
                check.fail(node.type, "what this type is of has none: nothing is assigned to it")
        elif variable.type != kind:
            variable.type, variable.fixed, check.facts.changed = kind, True, True
            if check.facts.final:
                check.fail(node.type, "this type depends on what is kept as it; write it out, as in int64")
        unknown = isinstance(found, Nothing) or isinstance(kind, Nothing)
        if found is not None and not unknown and not fits(check.read(found), kind):
            check.fail(node, f"${written_name(name)} is {article(kind)}; {article(found)} cannot be assigned to it")
        value = check.constant(node.value) if node.value is not None else None
        if isinstance(kind, Integer) and isinstance(value, int) and not _in_range(value, kind):
            taken = f"its lowest {8 * kind.width} bits are taken"
            check.warn(node, f"${written_name(name)} is {article(kind)}, which cannot be {value}: {taken}")
    if found is not None:
        check.give(variable, found, node)
        return
    check.unassigned.add(variable)
    if check.facts.final and variable.type is None:
        check.warn(node, f"${written_name(name)} is never assigned to")


def _in_range(value: int, kind: Integer) -> bool:
    """Whether an integer has a value; of unsigned ones also as the bits of a negative number."""
    bits = 8 * kind.width
    return -(1 << (bits - 1)) <= value < 1 << (bits - kind.signed)


def _while(check: Checker, node: tree.While) -> None:
    check.warn(node, "while may be left out of the language; for ($x : start..end) { ... } goes through a range")
    check.condition(node.condition)
    _body(check, node.body)


def _body(check: Checker, body: tree.Block) -> None:
    check.loops += 1
    check.block(body)
    check.loops -= 1


def _unroll(check: Checker, node: tree.Unroll) -> None:
    count = check.constant(node.count)
    check.integer(node.count, "the number of turns")
    if not isinstance(count, int):
        if check.facts.final:
            check.fail(node.count, "how often to unroll must be known when the script is compiled; write for, or while")
    elif not 1 <= count <= _MOST_UNROLLED:
        check.fail(node.count, f"unroll takes 1 to {_MOST_UNROLLED} turns, not {count}")
    outer, times = check.turns, count if isinstance(count, int) else 1
    check.turns *= times
    if check.turns > _MOST_TURNS:
        check.fail(node, f"unrolled inside of each other these are {check.turns} turns; write for, or while")
    _body(check, node.body)
    check.turns = outer


def _for(check: Checker, node: tree.For) -> None:
    if isinstance(node.iterable, tree.Range):
        for end in (node.iterable.start, node.iterable.end):
            check.integer(end, "the end of a range")
        kind: Type | None = Integer(8, True)
    else:
        facts = check.facts.map(node.iterable)
        if facts.keyed is False:
            check.fail(node.iterable, f"@{facts.name} has no keys to go through")
        value = check.map_value(facts, node.iterable)
        kind = None
        if facts.key is not None and not isinstance(value, Nothing):
            kind = Tuple((facts.key, check.readable(value, node.iterable)))
    with check.scope():
        variable = check.declare(node.variable, node.variable.name)
        if kind is not None and variable.type != kind:
            variable.type, check.facts.changed = kind, True
        _body(check, node.body)


def _jump(check: Checker, node: tree.Break | tree.Continue) -> None:
    if not check.loops:
        word = "break" if isinstance(node, tree.Break) else "continue"
        check.fail(node, f"{word!r} is for loops")


def _return(check: Checker, node: tree.Return) -> None:
    if check.calls:
        _return_of(check, node, check.calls[-1])
        return
    if node.value is not None:
        found = check.read(check.value(node.value))
        if not isinstance(found, (Integer, Nothing, Pointer)):
            check.fail(node.value, f"a probe returns an integer, not {article(found)}")


def _return_of(check: Checker, node: tree.Return, call: tree.Inlined) -> None:
    """``return`` in a function of the script."""
    if call.returns is None:
        if node.value is not None:
            check.fail(node, f"{call.name}() returns nothing: its type is void")
        return
    kind = written(check, call.returns)
    if node.value is None:
        check.fail(node, f"{call.name}() returns {article(kind)}; write which, as in return 0")
    found = check.read(check.value(node.value))
    if not isinstance(found, Nothing) and not isinstance(kind, Nothing) and not fits(found, kind):
        check.fail(node.value, f"{call.name}() returns {article(kind)}, not {article(found)}")


def _import(check: Checker, node: tree.Import) -> None:
    check.fail(node, "an import stands at the top of the script")


STATEMENTS: Mapping[type[tree.Node], Callable[[Checker, Any], None]] = MappingProxyType({
    tree.Assign: _assign,
    tree.Break: _jump,
    tree.Continue: _jump,
    tree.Declare: _declare,
    tree.Discard: _discard,
    tree.Evaluate: _evaluate,
    tree.For: _for,
    tree.Import: _import,
    tree.Return: _return,
    tree.Unroll: _unroll,
    tree.While: _while,
})  # fmt: skip
