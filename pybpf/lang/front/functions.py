"""Plain functions of Python that a probe calls: compiled in the place of the call."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pybpf.errors import CompileError
from pybpf.lang.front.outline import call_outlined, note_call, note_result
from pybpf.lang.front.refused import meaningless, reason
from pybpf.lang.front.source import Source
from pybpf.lang.front.statements import STATEMENTS, note_annotations
from pybpf.lang.front.variables import RESULT, Unset
from pybpf.lang.values.constants import Const

if TYPE_CHECKING:
    from pybpf.lang.front.frame import Frame
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["FunctionVal", "check_definition"]

#: Calls that are compiled in their places: functions that call others twice, which do so too, double with each level.
_MOST_CALLS = 1_000


class FunctionVal(Const):
    """A function, or a method bound to an object."""

    __slots__ = ()

    @property
    def what(self) -> str:
        return f"the function {self.value.__name__}()"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        owner = getattr(self.value, "__self__", None)
        if type(owner).__module__.startswith("pybpf.lang"):
            gen.fail(at, f"{type(owner).__name__}.{self.value.__name__}() works in Python, not in a probe: call it "
                     "outside of the probe")  # fmt: skip
        try:
            source = gen.frame.source.of_callee(self.value)
        except CompileError as error:
            gen.fail(at, error.message)
        _refuse_recursion(gen, source, at)
        bound = [gen.wrap(each) for each in source.bound]
        if not bound and source.function in gen.facts.outlined:
            return call_outlined(gen, source, bind(gen, source, args, named, at), at)
        caller = gen.frame
        gen.frame = frame = gen.new_frame(source, (caller.key, at), caller, at)
        if frame.number > _MOST_CALLS:
            gen.frame = caller
            gen.fail(at, f"{source.name}(), of {source.size} nodes of the syntax tree, is one of more than "
                     f"{_MOST_CALLS} calls that are compiled in their places: call it in a loop, or once, and keep "
                     "what it gives; a function of at most four integers (x: u64) that gives one can become a "
                     "function of eBPF")  # fmt: skip
        check_definition(gen, source.node)
        note_annotations(gen)
        note_result(gen)
        gen.frame = caller
        values = bind(gen, source, [*bound, *args], named, at)
        gen.frame = frame
        places = {each.arg: each for each in ast.walk(source.node.args) if isinstance(each, ast.arg)}
        for name, value in values.items():
            gen.assign(name, value, places[name])
        leave = gen.b.new_block(f"{source.name}_returns".strip("<>"))

        def returns(gen: Gen, value: Val, node: ast.AST) -> None:
            gen.assign(RESULT, value, node)
            gen.go(leave)

        frame.returns = returns
        gen.statements(source.body)
        if gen.b.reachable:
            returns(gen, Const(None), source.node)
        gen.land(leave)
        result = _result(gen, source, at)
        gen.frame = caller
        gen.b.line = caller.where(at)
        note_call(gen, source, [*bound, *values.values()], result)
        return result


def _result(gen: Gen, source: Source, at: ast.AST) -> Val:
    """What a call of the function of the frame has returned, where all its ways have joined."""
    if not gen.b.reachable:
        return Const(None)
    binding = gen.frame.env[RESULT]
    if isinstance(binding, Unset):
        assert gen.frame.caller is not None
        gen.frame = gen.frame.caller
        gen.fail(at, f"what {source.name}() returns {binding.why.replace(': use two names', '')}: return values of one "
                 "type on every way")  # fmt: skip
    result = gen.variable(RESULT, at)
    assert result is not None
    return result


def _refuse_recursion(gen: Gen, source: Source, at: ast.AST) -> None:
    chain: list[str] = []
    frame: Frame | None = gen.frame
    while frame is not None:
        chain.append(frame.source.name)
        if frame.source.function is source.function:
            calls = " -> ".join([*reversed(chain), source.name])
            gen.fail(at, f"{source.name}() calls itself ({calls}): eBPF has no recursion, write a loop")
        frame = frame.caller


def check_definition(gen: Gen, node: Any) -> None:
    """Refuse what cannot be compiled of the head of a function."""
    from pybpf.lang.front.expressions import EXPRESSIONS

    if isinstance(node, ast.AsyncFunctionDef):
        gen.fail(node, "'async def' cannot be compiled: write a plain 'def'")
    for each in (node.args.vararg, node.args.kwarg):
        if each is not None:
            gen.fail(each, "parameters with '*' are not compiled: name each parameter")
    for each in meaningless(gen.frame.source.body, {**STATEMENTS, **EXPRESSIONS}):
        gen.fail(each, reason(each))


def bind(gen: Gen, source: Source, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> dict[str, Val]:
    """The values of a function's parameters, in their order, as Python binds them; errors point at the call."""
    spec, name = source.node.args, source.name
    called = f"it is called as {name}({ast.unparse(spec)})"
    positional = [*spec.posonlyargs, *spec.args]
    if len(args) > len(positional):
        gen.fail(at, f"{name}() takes {len(positional)} positional arguments, and got {len(args)}: {called}")
    values = dict(zip((each.arg for each in positional), args))
    by_name = {each.arg for each in (*spec.args, *spec.kwonlyargs)}
    for key, value in named.items():
        if key not in by_name:
            gen.fail(at, f"{name}() has no parameter {key!r}: {called}")
        if key in values:
            gen.fail(at, f"{name}() got two values for {key!r}: {called}")
        values[key] = value
    function = source.function
    defaults = dict(zip([each.arg for each in positional][::-1], (function.__defaults__ or ())[::-1]))
    defaults.update(function.__kwdefaults__ or {})
    for each in (*positional, *spec.kwonlyargs):
        if each.arg not in values:
            if each.arg not in defaults:
                gen.fail(at, f"{name}() needs a value for {each.arg!r}: {called}")
            values[each.arg] = gen.wrap(defaults[each.arg])
    return {each.arg: values[each.arg] for each in (*positional, *spec.kwonlyargs)}
