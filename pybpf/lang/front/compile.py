"""From a Python function to IR: pure, so that it needs neither a kernel nor privileges."""

from __future__ import annotations

import ast
from typing import Any, NoReturn

from pybpf.compiler.build import Builder
from pybpf.compiler.ir import Function, Unit
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.lang.front.frame import Facts
from pybpf.lang.front.functions import check_definition
from pybpf.lang.front.gen import Gen
from pybpf.lang.front.reserved import check_reserved
from pybpf.lang.front.source import Source, identifier, source_of
from pybpf.lang.front.statements import note_annotations
from pybpf.lang.front.variables import RESULT
from pybpf.lang.probes.probe import Param, Probe
from pybpf.lang.values.constants import Const
from pybpf.lang.values.val import Val
from pybpf.lazy import Uncollected

__all__ = ["compile_probe"]

#: Passes until the types of variables must agree; one or two are usual.
_MOST_PASSES = 12


def compile_probe(function: Any, probe: Probe, target: Target, *, source: str | None = None) -> Unit:
    """Compile a function, and every function that it calls.

    :param source: the function's source text, where it has no file.
    :raises CompileError: it cannot be compiled; says where, why, and what to write instead.
    """
    found = source_of(function, source)
    facts = Facts()
    for _ in range(_MOST_PASSES):
        try:
            with Uncollected():
                unit = _compile(found, probe, target, facts)
        except RecursionError:
            raise found.error(found.node, "an expression or statement here is nested too deeply: split it") from None
        except CompileError:
            if facts.agree and not facts.outlined:
                raise
        else:
            if facts.agree and not facts.clashes:
                return unit
            if facts.agree and not facts.outlined:
                _refuse_clashes(facts)
        if facts.agree:  # what is wrong may be that functions are compiled once for all of their calls
            facts.inline_only |= facts.outlined
        facts = Facts(facts)
    _undecided(found, facts)


def _compile(source: Source, probe: Probe, target: Target, facts: Facts) -> Unit:
    program = Function(identifier(source.name))
    unit = Unit(probe.type, [program], {}, probe.expected_attach_type, probe.attach_btf)
    b = Builder(program)
    gen = Gen(target, probe, unit, b, facts)
    gen.frame = gen.new_frame(source, ())
    b.line = gen.frame.where(source.node)

    def returns(gen: Gen, value: Val, at: ast.AST) -> None:
        b.ret(probe.result(gen, value, at))

    gen.frame.returns = returns
    check_definition(gen, source.node)
    note_annotations(gen)
    params = _params(gen, source)
    for param, value in zip(params, probe.bind(gen, params)):
        gen.assign(param.name, value, param.node)
    gen.statements(source.body)
    if b.reachable:
        b.line = gen.frame.where(source.node)
        returns(gen, Const(None), source.node)
    gen.aliases.settle()
    b.finish()
    check_reserved(program)
    unit.alone = probe.alone(target)
    unit.skipped = None if unit.alone else probe.skipped(gen)
    return unit


def _params(gen: Gen, source: Source) -> list[Param]:
    """The parameters that the probe binds: all but what a method is bound to."""
    args = source.node.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    for each, value in zip(every, source.bound):
        gen.assign(each.arg, gen.wrap(value), each)
    return [Param(each.arg, _annotation(gen, each), each) for each in every[len(source.bound) :]]


def _annotation(gen: Gen, parameter: ast.arg) -> Any:
    """What a parameter is annotated with; ``Any``, which type checkers ask for, says nothing."""
    found = None if parameter.annotation is None else gen.annotation(parameter.annotation)
    return None if found is Any else found


def _refuse_clashes(facts: Facts) -> None:
    for frame, at, name in facts.clashes.values():
        if name == RESULT:
            raise frame.source.error(at, f"{frame.source.name}() returns a u64 or a signed value, depending on the "
                                     "way: say which by '-> s64', or convert by u64(x) or s64(x)")  # fmt: skip
        raise frame.source.error(at, f"{name!r} is assigned a u64 and a signed value: annotate it, as in "
                                 f"'{name}: s64 = ...', or convert by u64(x) or s64(x)")  # fmt: skip


def _undecided(source: Source, facts: Facts) -> NoReturn:
    for key, kind in facts.found.items():
        if facts.assumed.get(key) is not kind:
            name = key[1] if isinstance(key, tuple) else key
            raise source.error(source.node, f"the type of {name!r} cannot be found: annotate it, as in '{name}: u64'")
    raise source.error(source.node, "the types of the variables cannot be found: annotate them")
