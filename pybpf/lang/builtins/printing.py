"""``print(...)`` in a probe: its values become an event, its text is made in user space by Python's own formatting."""

from __future__ import annotations

import ast
import struct
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from pybpf.errors import PackError
from pybpf.lang.builtins.stacks import bound
from pybpf.lang.front.gen import Gen
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.emitting import EmitVal
from pybpf.lang.state.output import Events
from pybpf.lang.state.stacks import Stacks
from pybpf.lang.values.constants import Const
from pybpf.lang.values.memory import LARGEST
from pybpf.lang.values.pointers import Pointer
from pybpf.lang.values.val import Val
from pybpf.record import NamedTuple
from pybpf.report import printable
from pybpf.types import Struct, layout, u32
from pybpf.types.scalars import ElementType

__all__ = ["Formatted", "Line", "PrintVal", "Prints", "formatted"]

_CONVERSIONS = {-1: "", 115: "!s", 114: "!r", 97: "!a"}


class Piece(NamedTuple):
    """``{val!conversion:spec}`` of an f-string."""

    val: Val
    conversion: str  #: ``""``, ``"!r"``, ...
    spec: str


class Formatted(Val):
    """An f-string with values of run time: good for ``print()`` only."""

    def __init__(self, pieces: Sequence[str | Piece]) -> None:
        self.pieces = tuple(pieces)

    @property
    def what(self) -> str:
        return "an f-string with values of run time"

    @property
    def instead(self) -> str:
        return "give it to print(), or keep its values in fields of their own"


def formatted(gen: Gen, node: ast.JoinedStr) -> Val:
    """Compile an f-string; one of constants is a constant."""
    pieces: list[str | Piece] = []
    for each in node.values:
        if isinstance(each, ast.Constant):
            pieces.append(str(each.value))
            continue
        assert isinstance(each, ast.FormattedValue)
        spec = ""
        if each.format_spec is not None:
            found = gen.const(gen.value(each.format_spec))
            if not isinstance(found, str):
                gen.fail(each, "what follows ':' in an f-string of a probe must be constant")
            spec = found
        pieces.append(_piece(gen, gen.value(each.value), _CONVERSIONS[each.conversion], spec, each))
    if all(isinstance(each, str) for each in pieces):
        return Const("".join(str(each) for each in pieces))
    return Formatted(pieces)


def _piece(gen: Gen, val: Val, conversion: str, spec: str, at: ast.AST) -> str | Piece:
    if isinstance(val, Const):
        try:
            return f"{{{conversion}:{spec}}}".format(val.value)
        except (TypeError, ValueError) as error:
            gen.fail(at, f"Python cannot format this: {error}")
    if isinstance(val, Pointer) and not spec:
        return Piece(val, "", "#x")  # an address, as everyone writes them
    return Piece(val, conversion, spec)


class Line(NamedTuple):
    """One kind of printed line: what a record with its number means."""

    template: str  #: for ``str.format``
    record: type[Struct]  #: the number of the line, then the values
    escaped: frozenset[int]  #: the values that a conversion of the template escapes, ``!r`` or ``!a``

    def text(self, record: Struct) -> str:
        """What the program printed; text of it cannot drive a terminal."""
        values = enumerate(list(record)[1:])
        return self.template.format(
            *(printable(value) if isinstance(value, str) and index not in self.escaped else value
              for index, value in values)
        )  # fmt: skip


def _escaped_by(template: str) -> frozenset[int]:
    from string import Formatter  # only here: most tracers print nothing

    parts = Formatter().parse(template)
    return frozenset(int(name) for _, name, _, conversion in parts if name and conversion in ("r", "a"))


class Prints:
    """The lines that the probes of a tracer print. Numbers are given when they are first compiled, and stay.

    :ivar events: what the lines are sent through: one buffer for all, so that they stay in order.
    """

    def __init__(self, counts: Counts, stacks: Stacks) -> None:
        self.lines: list[Line] = []
        self.events: Events[Any] = Events(Struct, counts, name="tracer_prints")
        self.events.kind = self.read  # type: ignore[assignment]  # a reader takes a function of the bytes, too
        self._numbers: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._stacks = stacks

    @property
    def used(self) -> bool:
        """Whether a probe prints anything."""
        return bool(self.lines)

    def number(self, template: str, kinds: tuple[Any, ...]) -> int:
        """The number of a line with values of these types."""
        key = template, kinds
        if key not in self._numbers:
            fields = {"line": u32, **{f"value{index}": kind for index, kind in enumerate(kinds)}}
            record = ElementType("Print", (Struct,), {"__annotations__": fields, "__module__": __name__})
            self._numbers[key] = len(self.lines)
            self.lines.append(Line(template, bound(record, self._stacks), _escaped_by(template)))
        return self._numbers[key]

    def read(self, data: bytes) -> str:
        """The text of an event. :raises PackError: it is none of these."""
        number = struct.unpack_from("=I", data)[0] if len(data) >= 4 else len(self.lines)
        if number >= len(self.lines):
            raise PackError(f"{len(data)} bytes of print() have no known meaning")
        line = self.lines[number]
        return line.text(layout(line.record).unpack(data))


class PrintVal(Val):
    """``print`` in a probe."""

    @property
    def what(self) -> str:
        return "print()"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        call, nodes = at, getattr(at, "args", ())
        options = {"sep": " ", "end": "\n"}
        for name, val in named.items():
            value = gen.const(val)
            if name not in options or not isinstance(value, str):
                gen.fail(at, f"print() of a probe takes sep= and end=, constant strings, not {name}=: where the "
                         "lines go says Tracer(on_print=...)")  # fmt: skip
            options[name] = value
        template = ""
        values: list[Val] = []
        for index, arg in enumerate(args):
            template += _escaped(options["sep"]) if index else ""
            at = nodes[index] if len(nodes) == len(args) else call  # not so where some were given by '*'
            for piece in _pieces(gen, arg, at):
                if isinstance(piece, str):
                    template += _escaped(piece)
                else:
                    template += f"{{{len(values)}{piece.conversion}:{piece.spec}}}"
                    values.append(_value(gen, piece, at))
        _send(gen, template + _escaped(options["end"]), values, call)
        return Const(None)


def _pieces(gen: Gen, arg: Val, at: ast.AST) -> Sequence[str | Piece]:
    if isinstance(arg, Formatted):
        return arg.pieces
    if hasattr(arg, "kind") or isinstance(arg, Const) or type(arg).elements is Val.elements:
        return [_piece(gen, arg, "", "", at)]
    pieces: list[str | Piece] = ["("]  # a tuple
    for index, each in enumerate(arg.elements(gen, at)):
        pieces += [", "] * bool(index) + [_piece(gen, each, "!r", "", at)]
    return [*pieces, ",)" if len(pieces) == 2 else ")"]


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _value(gen: Gen, piece: Piece, at: ast.AST) -> Val:
    """A value that has a type, and can be formatted as its piece says."""
    val = piece.val if hasattr(piece.val, "kind") else piece.val.kept(gen)
    if not hasattr(val, "kind"):
        if type(val).number is Val.number:
            val.cannot(gen, at, "cannot be printed in a probe", "integers, text, structs and stacks can")
        val = val.number(gen, at)
    try:
        size = layout(val.kind).size
        if size > LARGEST:
            gen.fail(at, f"{val.what} is too large to be printed, {size} bytes: at most {LARGEST} are")
        zero = layout(val.kind).unpack(bytes(size))
    except TypeError:
        gen.fail(at, f"{val.what} cannot be printed; print its parts")
    try:
        f"{{{piece.conversion}:{piece.spec}}}".format(zero)
    except (TypeError, ValueError) as error:
        gen.fail(at, f"{val.what} cannot be formatted by {piece.spec!r}: {error}")
    return val


def _send(gen: Gen, template: str, values: Sequence[Any], at: ast.AST) -> None:
    from pybpf.lang.tracer.session import session_of  # which knows this file

    prints = session_of(gen, at, "print()").prints
    number = prints.number(template, tuple(each.kind for each in values))
    stream = copy(prints.events)  # shares the buffer
    stream.kind = prints.lines[number].record
    fields: dict[str, Val] = {"line": Const(number)}
    fields.update((f"value{index}", each) for index, each in enumerate(values))
    EmitVal(stream).call(gen, [], fields, at)
