"""Where ways join: variables, and the value of an expression, become of the form that holds what each way gives."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pybpf.lang.front.variables import RESULT, Binding, Env, Known, Unset, join_envs
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int
from pybpf.lang.values.joins import Apart, Form, form_of, holds
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.val import Val

__all__ = ["Carried", "Edge", "form_of_bindings", "meet", "note_value"]

_SIGNS = "a u64 or a signed value"


class Edge(NamedTuple):
    """One way to a block: the variables there, and the value that it brings."""

    env: Env
    value: Val | None = None


def note_value(gen: Gen, block: Block, val: Val) -> None:
    """Keep the registers of a value that goes to a block, for forms that take them as they are."""
    state = val.ssa()
    operands = state[1] if state else ()
    if isinstance(val, Const) and isinstance(val.value, int) and -(1 << 63) <= val.value < 1 << 64:
        operands = (int(val.value),)
    for index, operand in enumerate(operands):
        gen.b.write((block, index), operand)


def meet(gen: Gen, block: Block, edges: Sequence[Edge], at: ast.AST | None) -> Val | None:
    """Go on in a block that all ways to have been compiled; the value that they bring."""
    b, frame = gen.b, gen.frame
    env = join_envs([edge.env for edge in edges]) if edges else {}
    parted = _parted(gen, env, edges) if len(edges) > 1 else {}
    values = [edge.value for edge in edges if edge.value is not None]
    form = _form_of_values(gen, values, at) if at is not None and len(values) > 1 else None
    if parted or (form is not None and not form.plain):
        rooms = {name: each.room(gen) for name, each in parted.items()}
        room = form.room(gen) if form is not None else None
        for way, edge in zip(b.ways(block), edges):
            b.start(way)
            frame.env = edge.env
            for name, each in parted.items():
                binding = edge.env[name]
                assert not isinstance(binding, Unset)
                _enter(gen, (block, name), each, gen.held(name, binding), rooms[name])
            if form is not None and edge.value is not None:
                _enter(gen, block, form, edge.value, room)
            b.jump(block)
    b.seal(block)
    b.start(block)
    frame.env = env
    for name, each in parted.items():
        gen.keep(name, _left(gen, (block, name), each), frame.source.node, types=each.kept())
    if form is not None:
        return _left(gen, block, form)
    return values[0] if values else None


def _enter(gen: Gen, key: object, form: Form, val: Val, room: object) -> None:
    operands = form.enter(gen, val.seen(), room, gen.frame.source.node)
    for index, (operand, type) in enumerate(zip(operands, form.types)):
        gen.b.declare((key, index), type)
        gen.b.write((key, index), operand)


def _left(gen: Gen, key: object, form: Form) -> Val:
    return form.value([gen.b.read((key, index)) for index in range(len(form.types))])


def _parted(gen: Gen, env: Env, edges: Sequence[Edge]) -> dict[str, Form]:
    """The variables that every way has bound, but differently, and the forms that hold what they are bound to."""
    found = {}
    for name, binding in env.items():
        if not isinstance(binding, Unset):
            continue
        bindings = [edge.env.get(name) for edge in edges]
        if any(each is None or isinstance(each, Unset) for each in bindings):
            continue
        try:
            found[name] = form_of_bindings(gen, name, bindings)
        except Apart as why:
            env[name] = Unset(f"is {why} here, depending on the way: use two names")
    return found


def form_of_bindings(gen: Gen, name: str, bindings: Sequence[Binding | None]) -> Form:
    """The form of what a name is bound to. :raises Apart: there is none."""
    vals = []
    for each in bindings:
        assert each is not None and not isinstance(each, Unset)
        plain = not isinstance(each, Known) and each.key == "int"
        vals.append(Int(0, gen.frame.kind(name)) if plain else each.val)
    return form_of(vals, f"{gen.frame.source.name}()" if name == RESULT else repr(name))


def _form_of_values(gen: Gen, values: Sequence[Val], at: ast.AST) -> Form:
    try:
        return form_of(values)
    except Apart as why:
        advice = "convert one by u64(x) or s64(x)" if str(why) == _SIGNS else "write an if statement"
        gen.fail(at, f"this is {why}, depending on the way: {advice}")


class Carried:
    """The variables of a loop that an iteration binds to something else than there was before: found by passes before.

    :param node: the loop's.
    """

    def __init__(self, gen: Gen, node: ast.AST) -> None:
        self._gen = gen
        self._at = node
        forms = gen.facts.forms_at(gen.frame.key, node)
        self.forms = {name: form for name, form in forms.items() if name in gen.frame.env}
        self._rooms = {name: form.room(gen) for name, form in self.forms.items()}

    def enter(self) -> None:
        """Before the loop, and before each next turn: what they are now becomes of their forms."""
        gen = self._gen
        if not gen.b.reachable:
            return
        values = {}
        for name, form in self.forms.items():
            binding = gen.frame.env.get(name)
            if binding is None or isinstance(binding, Unset):
                continue
            val = gen.held(name, binding).seen()
            try:
                wider = holds(form, val)
            except Apart as why:
                gen.facts.unsteady[gen.frame.key, self._at, name] = (
                    f"is {why} here, depending on the way: use two names"
                )
                continue
            if wider.kept() is None:
                gen.facts.unsteady[gen.frame.key, self._at, name] = f"is {val.what} here, or another one: use two names"
                continue
            if wider is not form:
                gen.facts.forms[gen.frame.key, self._at, name] = wider  # this pass is in vain
                continue
            values[name] = form, form.enter(gen, val, self._rooms[name], self._at)
        for name, (form, operands) in values.items():
            gen.keep(name, form.value(operands), self._at, types=form.kept())
