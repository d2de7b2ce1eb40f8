"""Functions that are large, called more than once and deal in integers only: compiled once, as functions of eBPF."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pybpf.compiler.build import Builder
from pybpf.compiler.ir import Function
from pybpf.compiler.ops import INT, PTR
from pybpf.lang.front.aliases import Aliases
from pybpf.lang.front.scope import NameIsUnset, look_up
from pybpf.lang.front.source import identifier
from pybpf.lang.front.statements import note_annotations
from pybpf.lang.front.variables import RESULT, Kept
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import KINDS, Int, Test
from pybpf.types import u64

if TYPE_CHECKING:
    from pybpf.lang.front.frame import Frame
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.front.source import Source
    from pybpf.lang.values.val import Val

__all__ = ["COPIED", "LARGE", "call_outlined", "note_call", "note_result"]

#: Nodes of the syntax tree from which on a function is worth a call.
LARGE = 400
#: The same of all copies of a function together.
COPIED = 5_000
#: Registers that pass arguments; the first passes the context.
_MOST_ARGUMENTS = 4


def _is_int(val: Val) -> bool:
    return isinstance(val, (Int, Test)) or (isinstance(val, Const) and isinstance(val.value, int))


def _is_none(val: Val) -> bool:
    return isinstance(val, Const) and val.value is None


def note_call(gen: Gen, source: Source, args: Sequence[Val], result: Val) -> None:
    """A function was compiled in the place of a call: whether it is better compiled once is seen after this pass."""
    function, facts = source.function, gen.facts
    if source.bound or len(args) > _MOST_ARGUMENTS or not gen.target.has("subprog"):
        return
    facts.nothing.setdefault(function, _is_none(result))
    copies = facts.copies[function] = facts.copies.get(function, 0) + 1
    size = source.size
    if size < LARGE and size * copies < COPIED:
        return
    nothing = _is_none(result)
    if not all(map(_is_int, args)) or not (_is_int(result) or nothing) or facts.nothing.get(function) is not nothing:
        facts.inline_only.add(function)
    facts.calls[function] = copies


def note_result(gen: Gen) -> None:
    """Note the integer type that the function of the frame says to return, as ``-> s64``."""
    source = gen.frame.source
    said = getattr(source.node, "returns", None)
    if isinstance(said, ast.Name):
        try:
            kind = look_up(source.function, said.id)
        except NameIsUnset:  # a type for other tools only
            return
        if isinstance(kind, type) and kind in KINDS:
            gen.frame.annotated[RESULT] = kind


def call_outlined(gen: Gen, source: Source, args: Mapping[str, Val], at: ast.AST) -> Val:
    """Call the function of the unit that a function of the source is."""
    if not all(map(_is_int, args.values())):
        gen.facts.inline_only.add(source.function)  # the next pass does it differently
        return Int(0, u64)
    caller = gen.frame
    frame = gen.frame = gen.new_frame(source, ("outlined", source.function), caller, at)
    note_annotations(gen)
    note_result(gen)
    gen.frame = caller
    operands = []
    for name, value in args.items():
        kind = frame.annotated.get(name)
        number = value.number(gen, at) if kind is None else gen.fitting(value, kind, at)
        frame.note_kind(name, number.narrowest, at)
        operands.append(number.operand)
    label = gen.outlined.get(source.function)
    if label is None:
        label = gen.outlined[source.function] = f"{identifier(source.name)}_{len(gen.outlined)}"
        _compile(gen, source, frame, label, list(args))
    gen.b.written += gen.sizes.get(label, 0)
    result = gen.b.emit("callfunc", gen.ctx, *operands, type=INT, func=label)
    return Const(None) if gen.facts.nothing[source.function] else Int(result, frame.kind(RESULT))


def _compile(gen: Gen, source: Source, frame: Frame, name: str, params: list[str]) -> None:
    """Compile the function itself, in a builder of its own."""
    outer = gen.frame, gen.b, gen.ctx, gen.rolled, gen.aliases
    gen.rolled, gen.aliases = 0, Aliases(gen)
    function = Function(name, params=(PTR, *[INT] * len(params)))
    gen.unit.functions.append(function)
    gen.frame, gen.b, frame.whole = frame, Builder(function), True
    gen.ctx = gen.b.param(0)
    gen.b.line = frame.where(source.node)
    for index, param in enumerate(params):
        operand = gen.b.param(index + 1, INT)
        gen.b.write((frame.number, param, 0), operand)
        frame.env = {**frame.env, param: Kept("int", Int(operand, frame.kind(param)))}

    def returns(gen: Gen, value: Val, node: ast.AST) -> None:
        nothing = _is_none(value)
        if nothing is not gen.facts.nothing[source.function] or not (nothing or _is_int(value)):
            gen.facts.inline_only.add(source.function)
        if not _is_int(value):
            value = Const(0)
        kind = frame.annotated.get(RESULT)
        number = value.number(gen, node) if kind is None else gen.fitting(value, kind, node)
        frame.note_kind(RESULT, number.narrowest, node)
        gen.b.ret(number.operand)

    frame.returns = returns
    gen.statements(source.body)
    if gen.b.reachable:
        returns(gen, Const(None), source.node)
    gen.aliases.settle()
    gen.b.finish()
    gen.sizes[name] = gen.b.written
    gen.frame, gen.b, gen.ctx, gen.rolled, gen.aliases = outer
