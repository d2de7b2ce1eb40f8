"""Statements: a table from the class of an AST node to what compiles it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.front.expressions import OPERATORS
from pybpf.lang.front.holding import values_of
from pybpf.lang.front.loops import compile_break, compile_continue, compile_for, compile_while
from pybpf.lang.front.matching import compile_match
from pybpf.lang.front.scope import outside
from pybpf.lang.front.variables import Unset
from pybpf.lang.front.withs import compile_with
from pybpf.lang.state.maps import Variable
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import KINDS, Int
from pybpf.lang.values.memory import Maybe, Ref, Written, memory_of
from pybpf.lang.values.val import Val
from pybpf.types import Array, Struct, bool_

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen

__all__ = ["STATEMENTS", "assign_to", "note_annotations"]


def assign_to(gen: Gen, target: ast.expr, val: Val) -> None:
    """Assign to a name, an attribute, an item, or each of several."""
    if isinstance(target, ast.Name):
        _refuse_hiding(gen, target)
        gen.assign(target.id, val, target)
    elif isinstance(target, ast.Attribute):
        gen.value(target.value).set_attr(gen, target.attr, val, target)
    elif isinstance(target, ast.Subscript):
        owner = gen.value(target.value)
        owner.set_item(gen, gen.value(target.slice), val, target)
    elif isinstance(target, (ast.Tuple, ast.List)):
        _unpack(gen, target, val)
    else:
        gen.fail(target, "'*' among targets is not compiled: name each of them")


def _refuse_hiding(gen: Gen, target: ast.Name) -> None:
    """Refuse a variable that hides one of the tracer's, which a slip would make it do."""
    hidden = outside(gen.frame.source.function, target.id)
    if isinstance(hidden, Variable):
        gen.fail(target, "this would make a variable of the function, not change the tracer's: write "
                 f"{target.id}.value, or take another name")  # fmt: skip


def _unpack(gen: Gen, target: ast.Tuple | ast.List, val: Val) -> None:
    """All values are read before the first is assigned, so that ``t.a, t.b = t.b, t.a`` exchanges them."""
    first, *others = _pairs(gen, target, val)
    stored = [first]
    for each, value in others:
        stored.append((each, _taken(gen, each, value, stored)))
    for each, value in stored:
        assign_to(gen, each, value)


def _pairs(gen: Gen, target: ast.Tuple | ast.List, val: Val) -> Iterator[tuple[ast.expr, Val]]:
    """Each target, of tuples inside as well, and its value."""
    for each in target.elts:
        if isinstance(each, ast.Starred):
            gen.fail(each, "'*' among targets is not compiled: name each of them")
    if type(val).elements is Val.elements:
        val.cannot(gen, gen.given(target), f"cannot be unpacked to {len(target.elts)} targets",
                   "tuples, structs and arrays can")  # fmt: skip
    values = val.elements(gen, target)
    if len(values) != len(target.elts):
        gen.fail(target, f"{len(target.elts)} targets for {len(values)} values: write a target for each, such as _")
    for each, value in zip(target.elts, values):
        if isinstance(each, (ast.Tuple, ast.List)):
            yield from _pairs(gen, each, value)
        else:
            yield each, value


def _taken(gen: Gen, target: ast.expr, val: Val, before: list[tuple[ast.expr, Val]]) -> Val:
    """A value that is assigned after others, as it is before those are: what is in memory is copied."""
    inner = val.value if isinstance(val, Maybe) and val.known else val
    if isinstance(inner, Written):
        return inner.kept(gen)
    if not isinstance(inner, Ref):
        return val
    if inner.is_text or not isinstance(target, ast.Name):
        return inner.copied(gen, target)
    if any(not isinstance(each, ast.Name) and not isinstance(value, (Int, Const)) for each, value in before):
        gen.fail(target, f"{target.id!r} would stand for a place that the targets before it may change: assign it "
                 "in a statement of its own")  # fmt: skip
    return val


def _assign(gen: Gen, node: ast.Assign) -> None:
    val = gen.value(node.value)
    for target in node.targets:
        gen.gives(target, node.value)
        assign_to(gen, target, val)


def _annotated(gen: Gen, node: ast.AnnAssign) -> None:
    if not isinstance(node.target, ast.Name):
        gen.fail(node.target, "only variables are annotated: a field or an item has the type of its struct or map")
    val = None if node.value is None else gen.value(node.value)
    gen.gives(node, node.value)
    kind = gen.annotation(node.annotation)
    if node.target.id in gen.frame.annotated or kind is int:
        if val is not None:
            gen.assign(node.target.id, val, node)
        return
    if node.target.id in gen.frame.declared:
        _declare(gen, node.target.id, val, node)
        return
    gen.assign(node.target.id, gen.wrap(kind).declare(gen, val, node), node)


def _declare(gen: Gen, name: str, val: Val | None, node: ast.AnnAssign) -> None:
    """``name: kind = value`` where that has memory of its own, the same if this is done again."""
    own = gen.frame.own.get(name)
    if own is not None or gen.rolled:
        own = own or gen.frame.own.setdefault(name, memory_of(gen, gen.frame.declared[name], node, name))
        gen.aliases.anew(own.address, own.kind, node, [(gen.frame, name)])
    gen.store(name, val, node)


def note_annotations(gen: Gen) -> None:
    """Note the types that the function of the frame gives its parameters and variables."""
    found, source = gen.frame.annotated, gen.frame.source
    args = source.node.args
    annotated: list[tuple[str, ast.expr | None, ast.AST]] = [
        (each.arg, each.annotation, each) for each in (*args.posonlyargs, *args.args, *args.kwonlyargs)
    ]
    annotated += [
        (each.target.id, each.annotation, each)
        for each in _own(source.body)
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]
    for name, annotation, node in annotated:
        if annotation is not None:
            kind = gen.annotation(annotation)
            kind = bool_ if kind is bool else kind
            if isinstance(kind, type) and issubclass(kind, (Array, Struct)) and isinstance(node, ast.AnnAssign):
                _note(gen, gen.frame.declared, name, kind, node)
            elif kind in KINDS:
                _note(gen, found, name, kind, node)


def _note(gen: Gen, found: dict[str, Any], name: str, kind: Any, node: ast.AST) -> None:
    before = gen.frame.annotated.get(name) or gen.frame.declared.get(name) or kind
    if before is not kind:
        gen.fail(node, f"{name!r} is annotated as {before.__name__} already: a variable has one type")
    found[name] = kind


def _own(body: list[ast.stmt]) -> list[ast.stmt]:
    """All statements of a function, without those of functions inside it."""
    found, waiting = [], list(reversed(body))
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)]
            for case in getattr(node, "cases", ()):
                inner += case.body
            waiting += reversed(inner)
    return found


def _augmented(gen: Gen, node: ast.AugAssign) -> None:
    op, target = OPERATORS[type(node.op)], node.target
    gen.gives(node, node.value)
    if isinstance(target, ast.Name):
        left = gen.variable(target.id, target)
        assert left is not None
        gen.assign(target.id, left.binary(gen, op, gen.value(node.value), node), node)
    elif isinstance(target, ast.Attribute):
        owner, value = values_of(gen, [target.value, node.value])
        owner.add_to_attr(gen, target.attr, op, value, node)
    else:
        owner, index, value = values_of(gen, [target.value, target.slice, node.value])
        owner.add_to_item(gen, index, op, value, node)


def _expression(gen: Gen, node: ast.Expr) -> None:
    value = gen.value(node.value)
    if isinstance(node.value, ast.Compare):
        gen.fail(node, "this comparison does nothing: write '=' to assign, or 'if'")
    if isinstance(node.value, (ast.Name, ast.Attribute)) and type(value).call is not Val.call:
        gen.fail(node, f"this does nothing: write {ast.unparse(node.value)}(...) to call it")


def _if(gen: Gen, node: ast.If) -> None:
    yes, no, done = gen.b.new_block("then"), gen.b.new_block("else"), gen.b.new_block("endif")
    gen.branch(node.test, yes, no)
    for block, body in ((yes, node.body), (no, node.orelse)):
        gen.land(block)
        gen.statements(body)
        gen.go(done)
    gen.land(done)


def _pass(gen: Gen, node: ast.Pass) -> None:
    pass


def _return(gen: Gen, node: ast.Return) -> None:
    value = Const(None) if node.value is None else gen.value(node.value)
    gen.frame.leave_loops()
    gen.frame.returns(gen, value, node)


def _delete(gen: Gen, node: ast.Delete) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            gen.variable(target.id, target)
            gen.frame.env = {**gen.frame.env, target.id: Unset("was deleted: assign it again before it is read")}
        elif isinstance(target, ast.Subscript):
            owner = gen.value(target.value)
            owner.del_item(gen, gen.value(target.slice), target)
        else:
            gen.fail(target, "'del' takes variables, and items of maps: del m[key]")


STATEMENTS: Mapping[type[ast.AST], Callable[[Gen, Any], None]] = MappingProxyType({
    ast.AnnAssign: _annotated,
    ast.Assign: _assign,
    ast.AugAssign: _augmented,
    ast.Break: compile_break,
    ast.Continue: compile_continue,
    ast.Delete: _delete,
    ast.Expr: _expression,
    ast.For: compile_for,
    ast.If: _if,
    ast.Pass: _pass,
    ast.Return: _return,
    ast.While: compile_while,
    ast.With: compile_with,
    **({ast.Match: compile_match} if sys.version_info >= (3, 10) else {}),
})  # fmt: skip
