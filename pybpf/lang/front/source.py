"""From a function to its syntax tree, with the line numbers and columns of the file that it comes from."""

from __future__ import annotations

import ast
import linecache
import re
import sys
from functools import cached_property, lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any, Union

from pybpf.asm import SourceLine
from pybpf.errors import CompileError
from pybpf.record import dataclass

__all__ = ["FunctionNode", "Source", "identifier", "source_of"]

#: the option of Python that the text of a program follows, by itself or as the last of several
_COMMAND = re.compile("-[bBdEhiIOPqsSuvVx]*c")

FunctionNode = Union[ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda]


@dataclass(frozen=True, eq=False)
class Source:
    """A function and the text that it was compiled from.

    :ivar function: the function; of a bound method, the plain function.
    :ivar bound: what a bound method is bound to, in a tuple; otherwise empty.
    :ivar node: its definition.
    :ivar file: the file, as messages give it.
    :ivar lines: all lines of the file.
    :ivar given: the text, where there is no file; it is also that of other functions that were made from it.
    """

    function: FunctionType
    bound: tuple[Any, ...]
    node: FunctionNode
    file: str
    lines: tuple[str, ...]
    given: str | None = None

    def of_callee(self, function: Any) -> Source:
        """The source of a function that this one calls. :raises CompileError: as :func:`source_of`."""
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        same = code is not None and code.co_filename == self.function.__code__.co_filename
        return source_of(function, self.given if same else None, self.file)

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that are variables of the function, parameters included."""
        code = self.function.__code__
        return frozenset((*code.co_varnames, *code.co_cellvars))

    @cached_property
    def _places(self) -> dict[tuple[int, int], SourceLine]:
        """What :meth:`where` has given: the same object for the same place."""
        return {}

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements; a lambda has one, a ``return``."""
        if isinstance(self.node, ast.Lambda):
            return [ast.copy_location(ast.Return(self.node.body), self.node.body)]
        return self.node.body

    @cached_property
    def size(self) -> int:
        """How many nodes the syntax tree of its body has."""
        return sum(1 for each in self.body for _ in ast.walk(each))

    def text(self, line: int) -> str:
        """A line of the file, without the end of the line; empty where there is none."""
        return self.lines[line - 1].rstrip("\r") if 0 < line <= len(self.lines) else ""

    def column(self, line: int, offset: int) -> int:
        """The column, counted from 1 in characters, of an offset in bytes as the syntax tree has it."""
        text = self.text(line)
        if text.isascii():
            return offset + 1
        return len(text.encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "ignore")) + 1

    def where(self, node: ast.AST) -> SourceLine:
        """Where a node stands."""
        place = line, offset = getattr(node, "lineno", 0), getattr(node, "col_offset", 0)
        found = self._places.get(place)
        if found is None:
            found = self._places[place] = SourceLine(self.file, line, self.column(line, offset), self.text(line))
        return found

    def error(self, node: ast.AST, message: str) -> CompileError:
        """An error that points at a node; where the node goes on in further lines, at its first line."""
        line = getattr(node, "lineno", 0)
        column = self.column(line, getattr(node, "col_offset", 0))
        last, end = getattr(node, "end_lineno", line), getattr(node, "end_col_offset", None)
        text = self.text(line)
        until = len(text) + 1 if last != line or end is None else self.column(line, end)
        return CompileError(message, self.file, line, column, until, text)


def source_of(function: Any, text: str | None = None, file: str = "") -> Source:
    """Find the definition of a function.

    :param text: the source text that the function was made from, for functions that have no file.
    :param file: what messages call that text.
    :raises CompileError: the source is not to be found, is not the function's, or the object is no Python function.
    """
    bound: tuple[Any, ...] = ()
    if isinstance(function, MethodType):
        bound, function = (function.__self__,), function.__func__
    if not isinstance(function, FunctionType):
        raise CompileError(f"{function!r:.80} is not a Python function; a probe is made from `def` or `lambda`")
    code = function.__code__
    if text is not None:
        return _found(function, bound, file or f"<source of {function.__name__}>", text, text)
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines and code.co_filename == "<string>":
        lines = _program_of_command(code).splitlines(keepends=True)
    if not lines:
        raise CompileError(
            f"the source of {function.__name__}() is not to be found: it was made in {code.co_filename!r}, not in a "
            "file that can be read; put it into a file, or pass its text as source=..."
        )
    return _found(function, bound, code.co_filename, "".join(lines))


def _program_of_command(code: CodeType) -> str:
    """The text of ``python -c``, which Python keeps for tracebacks from 3.13 on; empty where ``code`` is not of it."""
    if sys.argv[:1] != ["-c"]:
        return ""
    with open("/proc/self/cmdline", encoding="utf-8", errors="surrogateescape") as file:
        words = file.read().split("\0")
    option = next((index for index, word in enumerate(words) if _COMMAND.fullmatch(word)), len(words))
    text = "".join(words[option + 1 : option + 2])
    try:
        return text if _has(compile(text, code.co_filename, "exec", dont_inherit=True), code) else ""
    except (SyntaxError, ValueError):
        return ""


def _has(program: CodeType, code: CodeType) -> bool:
    """Whether compiling a program has made this code."""
    parts = [each for each in program.co_consts if isinstance(each, CodeType)]
    return any(part == code or _has(part, code) for part in parts)


def _found(function: FunctionType, bound: tuple[Any, ...], file: str, text: str, given: str | None = None) -> Source:
    try:
        definitions, lines = _definitions(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise CompileError(f"the source of {function.__name__}() cannot be parsed: {error}", file) from None
    code = function.__code__
    same = [node for node in definitions if _is(node, code)]
    here = [node for node in same if _first_line(node) == code.co_firstlineno]
    if given is not None and not here:
        here = same[-1:]
    if len(here) == 1:
        return Source(function, bound, here[0], file, lines, given)
    if here:
        here = [node for node in here if _starts_at(node, code)]
        if len(here) == 1:
            return Source(function, bound, here[0], file, lines, given)
        raise CompileError(
            "several functions that look alike begin in this line; give each a line of its own",
            file, code.co_firstlineno, 1, 1, lines[code.co_firstlineno - 1].rstrip("\r"),
        )  # fmt: skip
    raise CompileError(
        f"{function.__name__}() is not in line {code.co_firstlineno} of its source; the text was changed after the "
        "function was made: load it anew",
        file,
    )


@lru_cache(maxsize=16)
def _definitions(text: str) -> tuple[list[FunctionNode], tuple[str, ...]]:
    """Every function of a text, and the lines of the text."""
    tree = ast.parse(text)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)], tuple(text.split("\n"))


def _is(node: FunctionNode, code: CodeType) -> bool:
    """Whether a definition has the name and the parameters of a code object."""
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    args = node.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    names += [arg.arg for arg in (args.vararg, args.kwarg) if arg]
    return name == code.co_name and tuple(names) == code.co_varnames[: len(names)]


def _first_line(node: FunctionNode) -> int:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(each.lineno for each in decorators)])


def _starts_at(node: FunctionNode, code: CodeType) -> bool:
    """Whether the code's own columns (Python 3.11) lie in the body of a lambda."""
    positions = getattr(code, "co_positions", None)
    if positions is None or not isinstance(node, ast.Lambda):
        return False
    body, spans = node.body, [each for each in positions() if None not in each and each[3] > each[2]]
    return bool(spans) and all(
        (body.lineno, body.col_offset) <= (line, start) and (end_line, end) <= (body.end_lineno, body.end_col_offset)
        for line, end_line, start, end in spans
    )


def identifier(name: str) -> str:
    """The name of a function as the kernel takes it."""
    return "".join(each if each.isalnum() and each.isascii() else "_" for each in name)
