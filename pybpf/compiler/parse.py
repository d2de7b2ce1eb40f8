"""Read IR back from its text form, which :mod:`pybpf.compiler.text` describes."""

from __future__ import annotations

import json
import re
from typing import Any

from pybpf.compiler.build import result_type
from pybpf.compiler.flow import reverse_postorder
from pybpf.compiler.ir import Block, Function, Instr, Operand, Unit, signed64
from pybpf.compiler.ops import NONE, OPS
from pybpf.errors import CompileError
from pybpf.lazy import regex
from pybpf.maps import MapSpec
from pybpf.sys.bpf import AttachType, MapFlags, MapType, ProgType
from pybpf.types import char, u8, u16, u32, u64

__all__ = ["parse_unit"]

_STRING = r'"(?:[^"\\]|\\.)*"'
_TOKEN = regex(rf"\s*(?:;.*|({_STRING}|-?\d+|[A-Za-z_.$][\w.$]*|->|<-|[=,:()]|$))", re.ASCII)
_BY_SIZE: dict[int, Any] = {1: u8, 2: u16, 4: u32, 8: u64}


def parse_unit(text: str) -> Unit:
    """The unit that a text describes; instructions have no source lines.

    :raises CompileError: the text is not of that form.
    """
    return _Reader(text).unit()


class _Reader:
    def __init__(self, text: str) -> None:
        self._lines = [(number, found) for number, line in enumerate(text.splitlines(), 1) if (found := _tokens(line))]
        self._next = 0
        self._number = 0
        self._tokens: list[str] = []

    # tokens

    def _line(self) -> bool:
        """Go to the next line."""
        if self._next == len(self._lines):
            return False
        self._number, tokens = self._lines[self._next]
        self._tokens = tokens[::-1]
        self._next += 1
        return True

    def _peek(self, ahead: int = 0) -> str:
        return self._tokens[-1 - ahead] if ahead < len(self._tokens) else ""

    def _take(self, *expected: str) -> str:
        token = self._peek()
        if not token or (expected and token not in expected):
            self._fail(f"expected {' or '.join(expected) or 'more'}, found {token or 'the end of the line'}")
        return self._tokens.pop()

    def _accept(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._tokens.pop()
        return True

    def _fail(self, message: str) -> Any:
        raise CompileError(f"line {self._number} of the IR: {message}")

    def _word(self) -> str:
        token = self._take()
        return str(json.loads(token)) if token.startswith('"') else token

    def _integer(self) -> int:
        token = self._take()
        return int(token) if _is_integer(token) else self._fail(f"expected a number, found {token}")

    def _list(self) -> list[str]:
        words = [self._word()]
        while self._accept(","):
            words.append(self._word())
        return words

    def _enum(self, kind: Any) -> Any:
        name = self._take().upper()
        return kind[name] if name in kind.__members__ else self._fail(f"there is no {kind.__name__} {name}")

    # units

    def unit(self) -> Unit:
        if not self._line() or not self._accept("unit"):
            self._fail("expected 'unit' and a program type")
        unit = Unit(self._enum(ProgType), [])
        while self._peek():
            if self._take("attach", "btf") == "attach":
                self._take("=")
                unit.expected_attach_type = self._enum(AttachType)
            else:
                self._take("=")
                unit.attach_btf = self._word()
        more = self._line()
        while more and self._accept("map"):
            name = self._word()
            self._take("=")
            unit.maps[name] = self._map(name)
            more = self._line()
        while more:
            self._take("func")
            function, more = self._function()
            unit.functions.append(function)
        return unit

    def _map(self, name: str) -> MapSpec:
        kind = self._enum(MapType)
        sizes = {}
        for what in ("key", "value", "entries"):
            self._take(what)
            sizes[what] = self._integer()
        flags = self._integer() if self._accept("flags") else 0
        inner = self._map("") if self._accept("inner") else None
        return MapSpec(
            kind, _of_size(sizes["key"]), _of_size(sizes["value"]), sizes["entries"], name, MapFlags(flags), inner
        )

    # functions

    def _function(self) -> tuple[Function, bool]:
        function = Function(self._word(), [], ())
        self._take("(")
        if not self._accept(")"):
            function.params = tuple(self._list())
            self._take(")")
        self._take(":")
        blocks: dict[str, Block] = {}
        values: dict[str, Instr] = {}
        wanted: list[tuple[Instr, list[str], int]] = []
        said: dict[Block, list[str]] = {}
        more = self._line()
        while more and self._peek() != "func":
            if self._peek(1) == ":":
                block = blocks.setdefault(self._peek(), Block(self._word()))
                self._take(":")
                said[block] = self._list() if self._accept("<-") else []
                function.blocks.append(block)
            elif not function.blocks:
                self._fail("an instruction before the first block")
            else:
                self._instruction(function.blocks[-1], blocks, values, wanted)
            if self._tokens:
                self._fail(f"unexpected {self._peek()}")
            more = self._line()
        self._link(function, values, wanted, said)
        return function, more

    def _instruction(
        self,
        block: Block,
        blocks: dict[str, Block],
        values: dict[str, Instr],
        wanted: list[tuple[Instr, list[str], int]],
    ) -> None:
        name = self._take() if self._peek(1) == "=" else ""
        if name:
            self._take("=")
        op = self._take()
        if op not in OPS:
            self._fail(f"there is no operation {op}")
        args: list[str] = []
        while self._peek() and self._peek() not in (":", "->") and self._peek(1) != "=":
            args.append(self._take())
            if not self._accept(","):
                break
        if not args and OPS[op].result == "same":
            self._fail(f"{op} needs operands")
        attrs: dict[str, Any] = {}
        while self._peek(1) == "=":
            key = self._take()
            self._take("=")
            attrs[key] = self._integer() if _is_integer(self._peek()) else self._word()
        type = self._take() if self._accept(":") else NONE
        instr = Instr(op, [], type, attrs)
        block.instrs.append(instr)
        if name:
            values[name] = instr
        wanted.append((instr, args, self._number))
        if self._accept("->"):
            block.successors = [blocks.setdefault(each, Block(each)) for each in self._list()]

    def _link(
        self,
        function: Function,
        values: dict[str, Instr],
        wanted: list[tuple[Instr, list[str], int]],
        said: dict[Block, list[str]],
    ) -> None:
        """Operands and predecessors, which may come later in the text than where they are named."""
        for instr, names, number in wanted:
            self._number = number
            for name in names:
                if not _is_integer(name) and name not in values:
                    self._fail(f"there is no value {name}")
            operands: list[Operand] = [signed64(int(each)) if _is_integer(each) else values[each] for each in names]
            instr.args = operands
        for block in function.blocks:
            for target in block.successors:
                if target not in said:
                    self._fail(f"there is no block {target.name} in {function.name}")
                target.predecessors.append(block)
        for block, names in said.items():
            found = {each.name: each for each in block.predecessors}
            if names:
                if sorted(names) != sorted(each.name for each in block.predecessors):
                    self._fail(f"other blocks than {', '.join(names)} go to {block.name} in {function.name}")
                block.predecessors = [found[each] for each in names]
        if function.blocks:
            for block in reverse_postorder(function):  # the type of a value comes from operands before it
                for instr in block.instrs:
                    instr.type = result_type(instr.op, instr.args, instr.type)


def _tokens(line: str) -> list[str]:
    tokens = []
    at = 0
    while at < len(line):
        match = _TOKEN.match(line, at)
        if match is None:
            raise CompileError(f"the IR has a line that cannot be read: {line.strip()}")
        if match.group(1):
            tokens.append(match.group(1))
        at = match.end()
    return tokens


def _is_integer(token: str) -> bool:
    return token.lstrip("-").isdigit()


def _of_size(size: int) -> Any:
    """A type of so many bytes."""
    return _BY_SIZE.get(size, char[size]) if size else None
