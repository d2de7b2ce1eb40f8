"""One compilation of a probe: what every value and statement is given while it compiles."""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pybpf.compiler.ops import INT
from pybpf.lang.front.aliases import Aliases
from pybpf.lang.front.frame import Facts, Frame
from pybpf.lang.front.meeting import Edge, meet, note_value
from pybpf.lang.front.scope import outside
from pybpf.lang.front.variables import Env, Kept, Known, Unset, assume, join_envs
from pybpf.lang.front.wrap import OfAnotherTracer, wrap
from pybpf.lang.state.maps import Variable
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, convert, truth
from pybpf.lang.values.memory import memory_of

if TYPE_CHECKING:
    from pybpf.compiler.build import Builder
    from pybpf.compiler.ir import Block, Instr, Operand, Unit
    from pybpf.compiler.target import Target
    from pybpf.lang.front.source import Source
    from pybpf.lang.probes.probe import Probe
    from pybpf.lang.values.val import Val
    from pybpf.maps import MapSpec

__all__ = ["Gen"]


def register(frame: Frame, name: str, index: int, type: str) -> Hashable:
    """The variable of the IR builder that has a register of a variable: one for each type that it may have."""
    return (frame.number, name, index) if type == INT else (frame.number, name, index, type)


class Gen:
    """The compilation of one probe.

    A probe is compiled again when the types of its variables turn out to be others than were assumed, each time with
    a new ``Gen`` and a new unit: what values do to anything else must not matter when it is done twice.

    :ivar target: the kernel it is for.
    :ivar probe: what is compiled: its type of program, its target, what its parameters are.
    :ivar unit: what has been compiled: maps that are used are entered by their name.
    :ivar b: writes the instructions of the function that is being compiled.
    :ivar ctx: the program's context.
    :ivar objects: name in :attr:`unit` -> the object of the user's that is entered under it.
    :ivar outlined: function of the source -> its name in the unit, of those that are compiled once.
    :ivar sizes: that name -> about how many instructions it has.
    :ivar frame: the function of the source that is being compiled.
    :ivar rolled: loops around this place that are not written out.
    :ivar aliases: the names that stand for places.
    :ivar reserves: whether a record of a ring buffer has been reserved: the program may hold it from there on.
    """

    def __init__(self, target: Target, probe: Probe, unit: Unit, b: Builder, facts: Facts) -> None:
        self.target = target
        self.probe = probe
        self.unit = unit
        self.b = b
        self.ctx: Instr = b.param(0)
        self.objects: dict[str, Any] = unit.owners
        self.facts = facts
        self.outlined: dict[Any, str] = {}
        self.sizes: dict[str, int] = {}
        self.frame: Frame
        self.reserves = False
        self.rolled = 0
        self.aliases = Aliases(self)
        self._frames = 0
        self._given: dict[ast.AST, ast.AST] = {}
        self._edges: dict[Block, list[Edge]] = {}

    # errors and places

    def fail(self, at: ast.AST, message: str) -> NoReturn:
        """Refuse the source at an AST node: what is wrong, and what to write instead.

        :raises CompileError: always; in a function that is compiled inline it names the calls.
        """
        frame = self.frame
        if frame.caller:
            message += f" (in {frame.source.name}(), {frame.chain()})"
        raise frame.source.error(at, message)

    def gives(self, at: ast.AST, value: ast.AST | None) -> None:
        """Errors about the value that is stored at a node point at ``value``."""
        if value is not None:
            self._given[at] = value

    def given(self, at: ast.AST) -> ast.AST:
        """Where errors about the value that is stored at a node point."""
        return self._given.get(at, at)

    @contextmanager
    def at(self, node: ast.AST) -> Iterator[None]:
        """Instructions that are emitted inside come from this place."""
        before = self.b.line
        self.b.line = self.frame.where(node)
        try:
            yield
        finally:
            self.b.line = before

    # values

    def value(self, node: ast.expr) -> Val:
        """Compile an expression."""
        from pybpf.lang.front.expressions import EXPRESSIONS

        compile_it = EXPRESSIONS.get(type(node))
        if compile_it is None:
            self._refuse(node)
        b = self.b
        before, b.line = b.line, self.frame.where(node)
        try:
            result = compile_it(self, node)
        except OfAnotherTracer:
            self.fail(node, f"{ast.unparse(node)} is of another tracer: make it by the tracer of this probe, or "
                      "decorate the probe by that one")  # fmt: skip
        b.line = before
        return result

    def _refuse(self, node: ast.AST) -> NoReturn:
        from pybpf.lang.front.refused import reason

        self.fail(node, reason(node))

    def anew(self, slot: Operand, kind: Any, at: ast.AST) -> None:
        """Memory of the function is given a value of its own: where a name is bound to it, the same in each turn."""
        if self.rolled and self.b.reachable:
            self.aliases.anew(slot, kind, at)

    def wrap(self, value: Any) -> Val:
        """What an object of Python is in a probe."""
        return wrap(self, value)

    def const(self, val: Val) -> Any:
        """The object that a value is known to be, or None; also of an integer whose value is known here."""
        if isinstance(val, Const):
            return val.value
        if isinstance(val, Int) and isinstance(val.operand, int):
            return val.kind(val.operand)
        return None

    def use_map(self, owner: Any) -> str:
        """Enter a map of the DSL into the unit: an object with a ``spec``. Gives the name that instructions use."""
        name = self.map_name(owner)
        self.unit.maps[name] = owner.spec
        return name

    def map_name(self, owner: Any) -> str:
        """The name that instructions would use for a map of the DSL."""
        spec: MapSpec = owner.spec
        name, number = spec.name, 1
        while self.objects.get(name, owner) is not owner:
            number += 1
            name = f"{spec.name}_{number}"
        self.objects[name] = owner
        return name

    def abandon(self) -> None:
        """Compile what must be done before the program ends here."""
        self.frame.abandon()

    # statements

    def statements(self, body: Sequence[ast.stmt]) -> None:
        """Compile statements; those that nothing leads to are left out."""
        for each in body:
            if not self.b.reachable:
                return
            self.statement(each)

    def statement(self, node: ast.stmt) -> None:
        """Compile a statement."""
        from pybpf.lang.front.statements import STATEMENTS

        compile_it = STATEMENTS.get(type(node))
        if compile_it is None:
            self._refuse(node)
        self.b.line = self.frame.where(node)
        compile_it(self, node)

    # control flow: the same as the builder's, and the variables go along

    def branch(self, node: ast.expr, yes: Block, no: Block) -> None:
        """End the block: to ``yes`` if an expression is true."""
        from pybpf.lang.front.conditions import branch

        branch(self, node, yes, no)

    def branch_on(self, val: Val, yes: Block, no: Block, at: ast.AST) -> None:
        """End the block: to ``yes`` if a value is true."""
        from pybpf.lang.front.conditions import answers

        before = len(yes.predecessors), len(no.predecessors)
        val.branch(self, yes, no, at)
        name, known = answers(self.frame.env, at)
        for block, count, answer in zip((yes, no), before, known):
            more = len(block.predecessors) - count
            if more:
                env = self.frame.env if answer is None else assume(self.frame.env, name, answer)
                self._edges.setdefault(block, []).extend([Edge(env)] * more)

    def go(self, block: Block, value: Val | None = None) -> None:
        """End the block by a jump; with a value that goes along, see :meth:`land_value`."""
        if self.b.reachable:
            if value is not None:
                value = value.kept(self)
                note_value(self, block, value)
            self._edges.setdefault(block, []).append(Edge(self.frame.env, value))
            self.b.jump(block)

    def land(self, block: Block) -> None:
        """Go on in a block that all ways to have been compiled."""
        meet(self, block, self._edges.pop(block, []), None)

    def land_value(self, block: Block, at: ast.AST) -> Val:
        """The same; gives the value that the ways bring."""
        value = meet(self, block, self._edges.pop(block, []), at)
        return Const(None) if value is None else value

    def land_open(self, block: Block) -> None:
        """Go on in a block that more ways may lead to: the head of a loop."""
        edges = self._edges.pop(block, [])
        self.b.start(block)
        self.frame.env = join_envs([edge.env for edge in edges]) if edges else {}

    def came_back(self, block: Block) -> list[Env]:
        """The variables on the ways to a block that were compiled since it began."""
        return [edge.env for edge in self._edges.pop(block, [])]

    def repeat(self, at: ast.AST, times: int, size: int, turn: Callable[[Operand, Block], None], what: str) -> None:
        """Compile what an operation does again and again, see :func:`~pybpf.lang.front.turns.repeat`."""
        from pybpf.lang.front.turns import repeat

        repeat(self, at, times, size, turn, what)

    # variables

    def assign(self, name: str, val: Val, at: ast.AST) -> None:
        """Bind a variable of the function."""
        frame = self.frame
        kind = frame.annotated.get(name)
        if kind is not None:
            self._keep(name, self.fitting(val, kind, at), at, frame)
            return
        if name in frame.declared:
            self.store(name, val, at)
            return
        val = val.bound(self, at)
        if isinstance(val, Const) and isinstance(val.value, int):
            self._keep(name, val.number(self, at), at, frame)
            self._bind(name, Known(val), frame)
        else:
            self.keep(name, val, at)

    def keep(
        self, name: str, val: Val, at: ast.AST, frame: Frame | None = None, types: tuple[str, ...] | None = None
    ) -> None:
        """Bind a variable, of this call or of one that leads here, to a value as it is.

        :param types: of its registers, where constants do not show them.
        """
        if val.ssa() is not None:
            self._keep(name, val, at, frame or self.frame, types)
        else:
            self._bind(name, Known(val), frame or self.frame)

    def fitting(self, val: Val, kind: Any, at: ast.AST) -> Int:
        """A value in a type that it is to be kept in. :raises CompileError: a constant that does not fit."""
        if isinstance(val, Const) and isinstance(val.value, int) and kind(val.value) != val.value:
            found = kind.__layout__
            self.fail(self.given(at), f"{val.value} does not fit {kind.__name__}: its range is {found.minimum} to "
                      f"{found.maximum}")  # fmt: skip
        val.check_kept(self, kind, self.given(at))
        return convert(self, val, kind, at)

    def store(self, name: str, val: Val | None, at: ast.AST) -> None:
        """Write a value, or zeros, to the memory that a variable has of its own; the variable stands for that."""
        frame = self.frame
        place = frame.own.get(name)
        if place is None:
            place = frame.own[name] = memory_of(self, frame.declared[name], at, name)
        if val is None:
            place.clear(self)
        else:
            place.put(self, val, at)
        self.keep(name, place, at)

    def _bind(self, name: str, binding: Kept | Known, frame: Frame) -> None:
        frame.env = {**frame.env, name: binding}

    def _keep(
        self, name: str, val: Val, at: ast.AST, frame: Frame, types: tuple[str, ...] | None = None
    ) -> None:
        state = val.ssa()
        assert state is not None
        key, operands = state
        if isinstance(val, Int) and name not in frame.annotated:
            frame.note_kind(name, val.narrowest, at)
        types = types or tuple(INT if isinstance(each, int) else each.type for each in operands)
        for index, (operand, type) in enumerate(zip(operands, types)):
            self.b.declare(register(frame, name, index, type), type)
            self.b.write(register(frame, name, index, type), operand)
        self._bind(name, Kept(key, val, types), frame)

    def variable(self, name: str, at: ast.AST) -> Val | None:
        """The value of a variable here, or None when the function has none of that name."""
        frame = self.frame
        binding = frame.env.get(name)
        if binding is None:
            if name not in frame.locals:
                return None
            hidden = outside(frame.source.function, name)
            if isinstance(hidden, Variable):
                self.fail(at, f"{name!r} is a variable of the tracer: write {name}.value")
            if hidden:
                self.fail(at, f"{name!r} has no value here yet: it is assigned in this function, so it is not the "
                          "global of that name, which is constant in a probe; keep what changes in a map, or in "
                          "tracer.variable(...)")  # fmt: skip
            self.fail(at, f"{name!r} has no value here yet: assign it before, on every way that leads here")
        if isinstance(binding, Unset):
            self.fail(at, f"{name!r} {binding.why}")
        return self.held(name, binding).seen()

    def held(self, name: str, binding: Kept | Known, frame: Frame | None = None) -> Val:
        """What a variable is bound to, of this call or of one that leads here, with the registers that it has here."""
        frame = frame or self.frame
        if isinstance(binding, Known):
            return binding.val
        if binding.key == "int":
            return Int(self.b.read((frame.number, name, 0)), frame.kind(name))
        read = [self.b.read(register(frame, name, index, type)) for index, type in enumerate(binding.types)]
        return binding.val.with_ssa(read)

    def truth(self, val: Val, at: ast.AST) -> Int:
        """``bool(val)`` as a register."""
        return truth(self, val, at)

    def annotation(self, node: ast.expr) -> Any:
        """The object that an annotation names: the text of one is read as Python would."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                inner = ast.parse(node.value.strip(), mode="eval").body
            except SyntaxError as error:
                self.fail(node, f"this annotation cannot be parsed: {error.msg}")
            for each in ast.walk(inner):
                ast.copy_location(each, node)
            node = inner
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and each.id in self.frame.locals:
                self.fail(each, f"{each.id!r} is a variable of the function: types are made of constants")
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) > 1:
            outer = self.value(node.value)
            if isinstance(outer, Const) and outer.value is Annotated:  # what type checkers take, and what is meant
                return self.annotation(node.slice.elts[1])
        found = self.value(node)
        kind = found.value if isinstance(found, Const) else None
        if kind is None and not (isinstance(node, ast.Constant) and node.value is None):
            self.fail(node, f"{found.what} is no type: write u8 .. u64, s8 .. s64, bool, char[N] or a Struct")
        return kind

    def new_frame(self, source: Source, key: Hashable, caller: Frame | None = None, call: ast.AST | None = None
                  ) -> Frame:  # fmt: skip
        """One more call of a function of the source; the caller makes it :attr:`frame`."""
        self._frames += 1
        return Frame(source, self._frames, key, self.facts, source.variables, caller, call)
