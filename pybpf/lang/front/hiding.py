"""Integers that turns of a loop leave to the next ones, hidden from a verifier that walks through every turn.

It follows each way through a turn, and finds that a way is none that it has not followed where the integers are the
same there, or may be any. A sum that starts from a constant is another constant on each way, twice as many of them
after each turn that asks something: of 20 such turns no verifier sees the end.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from pybpf.compiler.unknown import Unknown
from pybpf.errors import CompileError
from pybpf.lang.front.scope import NameIsUnset, look_up
from pybpf.lang.front.variables import Known, is_number
from pybpf.lang.values.constants import Const

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.front.source import Source

__all__ = ["forget", "hider", "stored_names"]

#: Statements and expressions behind which ways differ.
_FORKS = (ast.If, ast.IfExp, ast.BoolOp, ast.Compare, ast.While, ast.For, ast.Call)

#: Calls of functions in each other that are looked through.
_DEEP = 3


def stored_names(node: ast.AST) -> frozenset[str]:
    """The names that a loop, or a statement, assigns to or deletes."""
    return frozenset(
        name
        for each in ast.walk(node)
        for name in (
            [each.id] if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)
            else [getattr(each, "name", None)] if type(each).__name__ in ("MatchAs", "MatchStar")
            else []
        )
        if name
    )  # fmt: skip


def hider(gen: Gen, node: ast.For | ast.While, written_out: bool = False, walked: bool = True) -> Callable[[], None]:
    """Before a loop: what to call at the begin of each turn.

    :param walked: whether the verifier walks through every turn, and sees the end of a ``while`` by its condition: what
        that is made of stays known. Of other loops it sees that a turn is none that it has not seen.
    """
    known = {name: binding.val.value for name, binding in gen.frame.env.items()
             if isinstance(binding, Known) and isinstance(binding.val, Const)}  # fmt: skip
    asked = _with_calls(gen.frame.source, known, node, _bits_asked if written_out else _asked)
    ending = _ending(node) if walked and isinstance(node, ast.While) else frozenset()
    names = (stored_names(node) | asked) - ending
    kinds = [type(each) for statement in node.body for each in ast.walk(statement)]
    if not names or not any(issubclass(kind, _FORKS) or kind.__name__ == "Match" for kind in kinds):
        return lambda: None
    b, frame = gen.b, gen.frame
    unknown = _unknown(gen)

    def hide() -> None:
        for name in sorted(names & frame.env.keys()):
            binding = frame.env[name]
            if is_number(binding) and not isinstance(binding, Known):
                variable = (frame.number, name, 0)
                b.write(variable, unknown.hide_again(b.read(variable)))

    return hide


def _ending(node: ast.While) -> frozenset[str]:
    """The names of the condition, and those that are assigned to them, directly or not."""
    found = _names(node.test)
    while True:
        more = found.union(*(_names(each) for each in ast.walk(node)
                             if isinstance(each, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr))
                             and stored_names(each) & found))  # fmt: skip
        if more == found:
            return found
        found = more


def _names(node: ast.AST) -> frozenset[str]:
    return frozenset(each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _with_calls(
    source: Source, known: Mapping[str, Any], node: ast.AST, asked: Callable[[ast.AST], frozenset[str]],
    deep: int = _DEEP,
) -> frozenset[str]:  # fmt: skip
    """The names that are asked of in a node, or in functions that it passes them to.

    :param known: the variables that are objects of Python.
    """
    found = set(asked(node))
    for call in ast.walk(node) if deep else ():
        callee = _callee(source, known, call.func) if isinstance(call, ast.Call) else None
        if callee is None:
            continue
        assert isinstance(call, ast.Call)
        params = [each.arg for each in (*callee.node.args.posonlyargs, *callee.node.args.args)]
        own = dict(zip(params, callee.bound))
        given = [*zip(params[len(own) :], call.args), *((each.arg, each.value) for each in call.keywords if each.arg)]
        own.update((param, value) for param, arg in given if (value := _object(source, known, arg)) is not None)
        inside = _with_calls(callee, own, callee.node, asked, deep - 1)
        found.update(name for param, value in given if param in inside for name in _names(value))
    return frozenset(found)


def _callee(source: Source, known: Mapping[str, Any], node: ast.expr) -> Source | None:
    """The source of a plain function of Python, or of a method, that is called."""
    function = _object(source, known, node)
    owner = getattr(function, "__self__", None)
    if not isinstance(function, (FunctionType, MethodType)) or type(owner).__module__.startswith("pybpf.lang"):
        return None
    try:
        return source.of_callee(function)
    except CompileError:  # where it is called says so
        return None


def _object(source: Source, known: Mapping[str, Any], node: ast.expr) -> Any:
    """The object of Python that a name, or an attribute of one, stands for, or None."""
    if isinstance(node, ast.Attribute):
        try:
            return getattr(_object(source, known, node.value), node.attr, None)
        except Exception:  # a property of the user's; where it is compiled says so
            return None
    if not isinstance(node, ast.Name):
        return None
    if node.id in source.variables:
        return known.get(node.id)
    try:
        return look_up(source.function, node.id)
    except NameIsUnset:
        return None


def _asked(node: ast.AST) -> frozenset[str]:
    """The names that conditions ask of: what each way has found out, the verifier remembers in all later turns."""
    tests = [each.test for each in ast.walk(node) if isinstance(each, (ast.If, ast.IfExp, ast.While))]
    return frozenset().union(*map(_names, tests), *(_names(each) for each in ast.walk(node)
                                                    if isinstance(each, (ast.Compare, ast.BoolOp))))  # fmt: skip


def _bits_asked(node: ast.AST) -> frozenset[str]:
    """Those of whose bits they ask: of each bit it remembers what it was; in few turns only that matters."""
    tests = [each.test for each in ast.walk(node) if isinstance(each, (ast.If, ast.IfExp, ast.While))]
    masks = [each for test in tests for each in ast.walk(test) if isinstance(each, ast.BinOp)]
    return frozenset().union(*(_names(mask) for mask in masks if isinstance(mask.op, ast.BitAnd)))


def _unknown(gen: Gen) -> Unknown:
    ticks = gen.target.has_helper(gen.unit.type, "jiffies64")
    return Unknown(gen.b.emit, "jiffies64" if ticks else "get_prandom_u32")


def forget(gen: Gen, stored: frozenset[str]) -> None:
    """Let the verifier know nothing of the integers that a loop changes, so that it sees soon that no turn is new.

    Of loops that it does not walk through turn by turn: once, before the first one.
    """
    b, frame = gen.b, gen.frame
    changed = sorted(name for name in stored & frame.env.keys() if is_number(frame.env[name]))
    if not changed:
        return
    unknown = _unknown(gen)
    for name in changed:
        variable = (frame.number, name, 0)
        b.write(variable, unknown.hide(b.read(variable)))
