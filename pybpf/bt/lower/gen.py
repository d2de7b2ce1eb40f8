"""One compilation of a checked probe: what every expression and statement is given while it is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from pybpf.asm import SourceLine
from pybpf.bt.lower.values import Known, Scalar, Value, converted
from pybpf.bt.syntax import tree
from pybpf.bt.types import BOOL, Type
from pybpf.compiler.ops import PTR
from pybpf.lang.probes.alone import runs_alone
from pybpf.lang.state.sending import send
from pybpf.lang.values import raw
from pybpf.types import sizeof

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.check.facts import Checked, VariableFacts
    from pybpf.bt.state.actions import Action
    from pybpf.bt.state.maps import ScriptMap
    from pybpf.bt.state.shared import Shared
    from pybpf.bt.syntax.source import Source
    from pybpf.compiler.build import Builder
    from pybpf.compiler.ir import Block, Instr, Operand, Unit
    from pybpf.compiler.target import Target
    from pybpf.maps import MapSpec

__all__ = ["Call", "Gen", "Loop"]

#: Kind of probe -> what it is called in pybpf.lang.
_KINDS = {"software": "perf_event", "hardware": "perf_event", "rawtracepoint": "raw_tracepoint"}


class Loop:
    """A loop that is being compiled: where ``break`` and ``continue`` go."""

    def __init__(self, leave: Block, again: Block) -> None:
        self.leave = leave
        self.again = again


class Call:
    """A call of a function of the script whose body is being compiled: where ``return`` puts a value, and goes."""

    def __init__(self, result: VariableFacts | None, leave: Block) -> None:
        self.result = result
        self.leave = leave


class Gen:
    """The compilation of one probe: an :class:`~pybpf.lang.values.emitter.Emitter`, and what the checker has found.

    :ivar checked: the probe.
    :ivar shared: what the programs of a script share: maps, actions, counts, stacks.
    :ivar check: the checker that has seen the probe last, for what is known while compiling.
    :ivar loops: the loops around this place, the innermost last.
    :ivar calls: the calls of the script's functions around this place, the innermost last.
    :ivar alone: no other run of the program begins on a CPU where one is under way.
    :ivar homes: variable -> its memory, of those that live there.
    """

    def __init__(
        self, target: Target, checked: Checked, check: Checker, shared: Shared, unit: Unit, b: Builder
    ) -> None:
        self.target = target
        self.checked = checked
        self.check = check
        self.shared = shared
        self.unit = unit
        self.b = b
        self.ctx: Instr = b.param(0)
        self.reserves = False
        self.loops: list[Loop] = []
        self.calls: list[Call] = []
        self.homes: dict[VariableFacts, Instr] = {}
        self._source: Source = check.facts.script.source
        self._lines: dict[int, SourceLine] = {}
        self.alone = runs_alone(_KINDS.get(checked.place.kind, checked.place.kind), target)

    def fail(self, node: tree.Node, message: str) -> NoReturn:
        """Refuse what the target cannot do. :raises CompileError: always; it points at the node."""
        raise self._source.error(node.span, message)

    @contextmanager
    def at(self, node: tree.Node) -> Iterator[None]:
        """Instructions that are emitted inside come from this place."""
        before, self.b.line = self.b.line, self._line(node)
        yield
        self.b.line = before

    def _line(self, node: tree.Node) -> SourceLine:
        start = node.span[0]
        found = self._lines.get(start)
        if found is None:
            line, column = self._source.position(start)
            found = self._lines[start] = SourceLine(
                self._source.file_of(start), line, column, self._source.line_at(start)
            )
        return found

    # expressions

    def type(self, node: tree.Node) -> Type:
        """What the checker has found."""
        return self.checked.types[node]

    def value(self, node: tree.Node) -> Value:
        """Compile an expression."""
        from pybpf.bt.lower.expressions import EXPRESSIONS

        with self.at(node):
            return EXPRESSIONS[type(node)](self, node)

    def read(self, node: tree.Node) -> Value:
        """Compile an expression that is computed with: aggregates are read as integers."""
        found = self.value(node)
        wanted = self.check.read(found.type)
        return found if wanted == found.type else self.read_aggregate(node, found, wanted)

    def read_aggregate(self, node: tree.Node, found: Value, wanted: Type) -> Value:
        """The integer that all CPUs' values of an aggregate make."""
        from pybpf.bt.lower.aggregates import read

        return Scalar(wanted, read(self, node, found))

    def as_type(self, node: tree.Node, type: Type) -> Value:
        """Compile an expression, and convert what it gives."""
        return converted(self, self.read(node), type)

    def scalar(self, node: tree.Node) -> Operand:
        """The register of an integer, a boolean or a pointer."""
        return self.read(node).operand(self)

    def constant(self, node: tree.Node) -> int | str | bool | None:
        """The value of an expression that is known now."""
        return self.check.constant(node)

    def known(self, value: int | str | bool) -> Value:
        """A value that is known."""
        from pybpf.bt.check.expressions import literal

        kind = literal(value)
        if isinstance(value, str):
            return Known(kind, value.encode("utf-8", "surrogateescape"))
        return Scalar(kind, int(value))

    def branch(self, node: tree.Node, yes: Block, no: Block) -> None:
        """End the block: to ``yes`` if an expression is true."""
        from pybpf.bt.lower.conditions import branch

        branch(self, node, yes, no)

    def truth(self, value: Value) -> Operand:
        """Whether a scalar is not zero, as a register."""
        return converted(self, value, BOOL).operand(self)

    # statements

    def statement(self, node: tree.Statement) -> None:
        """Compile a statement."""
        from pybpf.bt.lower.statements import STATEMENTS

        if self.b.reachable:
            with self.at(node):
                STATEMENTS[type(node)](self, node)

    def block(self, node: tree.Block) -> Value | None:
        """Compile a block; its value."""
        for each in node.statements:
            self.statement(each)
        return None if node.value is None or not self.b.reachable else self.value(node.value)

    def land(self, block: Block) -> None:
        """Go on in a block that all ways to have been compiled."""
        self.b.seal(block)
        self.b.start(block)

    def leave(self, result: Operand = 0) -> None:
        """End the program."""
        self.b.ret(result)

    def abandon(self) -> None:
        """A program of a script holds nothing that it would have to give back."""

    def repeat(self, at: Any, times: int, size: int, turn: Callable[[Operand, Block], None], what: str) -> None:
        """Compile what an operation that both languages have does again and again.

        :param turn: is given the number of the turn, and the block to go to where it is the last.
        """
        from pybpf.bt.lower.turns import counted

        counted(self, 0, times, lambda number: turn(number, self.loops[-1].leave))

    # what programs share

    def use_map(self, owner: Any) -> str:
        """Enter a map into the unit: an object with a ``spec``. Gives the name that instructions use."""
        name = self.map_name(owner)
        self.unit.maps[name] = owner.spec
        return name

    def map_name(self, owner: Any) -> str:
        """The name that instructions would use for a map."""
        spec: MapSpec = owner.spec
        name, number = spec.name, 1
        owners = self.unit.owners
        while owners.get(name, owner) is not owner:
            number += 1
            name = f"{spec.name}_{number}"
        owners[name] = owner
        return name

    def map(self, name: str) -> ScriptMap:
        """A map of the script."""
        return self.shared.maps[name]

    def send(self, action: Action, values: Sequence[Value] = ()) -> None:
        """Ask user space to act. The values are of the types of the action's fields."""
        number = self.shared.actions.number(action)
        record = self.shared.actions.record(number)
        fields = list(record.__layout__.fields.values())[1:]
        ready = [converted(self, value, kind) for value, kind in zip(values, action.fields)]

        def fill(address: Operand) -> None:
            self.b.emit("store", address, number, offset=0, size=4)
            for value, field in zip(ready, fields):
                value.store(self, address, field.offset)

        if self.checked.place.kind == "iter":
            self._write(sizeof(record), fill)
        else:
            send(self, self.shared.actions.events, sizeof(record), fill)

    def _write(self, size: int, fill: Callable[[Operand], None]) -> None:
        """Send a record through the file of an iterator, which is read as it is written: none is lost."""
        b = self.b
        meta = b.emit("load", self.ctx, type=PTR, offset=0, size=8, signed=False)
        file = b.emit("load", meta, type=PTR, offset=0, size=8, signed=False)  # struct bpf_iter_meta: seq comes first
        record = b.slot(size, "record")
        raw.clear(self, record, 0, size)
        fill(record)
        b.emit("call", file, record, size, helper="seq_write")
