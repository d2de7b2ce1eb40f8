"""The text of a script: where an offset stands in it, and errors that point there."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import NoReturn

from pybpf.errors import CompileError

__all__ = ["Source", "Span", "diagnostic"]

#: Offsets of the first character and of the one after the last.
Span = tuple[int, int]


class Source:
    """A script or a C definition, with the name that errors call it by."""

    def __init__(self, text: str, file: str = "<script>") -> None:
        self.text = text
        self.file = file

    @cached_property
    def _starts(self) -> list[int]:
        """Offsets at which lines start."""
        starts = [0]
        at = self.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.text.find("\n", at + 1)
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, without its end."""
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return (self.text[start:] if end < 0 else self.text[start:end]).rstrip("\r")

    def error(self, span: Span, message: str) -> CompileError:
        """The error that points at a span; of one over several lines, at the part on the first."""
        start, end = span
        line, column = self.position(start)
        text = self.line(line)
        width = max(1, min(end - start, len(text) - column + 1))
        return CompileError(message, self.file, line, column, column + width, text)

    def fail(self, span: Span, message: str) -> NoReturn:
        """:raises CompileError: always."""
        raise self.error(span, message)


def diagnostic(error: CompileError, severity: str = "ERROR") -> str:
    """An error as bpftrace prints it: ``file:line:first-last: ERROR: message``, the line, ``~`` below what is meant."""
    if not error.line:
        return f"{error.file}: {severity}: {error.message}" if error.file else f"{severity}: {error.message}"
    width = max(1, error.end_column - error.column)
    head = f"{error.file}:{error.line}:{error.column}-{error.column + width}: {severity}: {error.message}"
    # a tab stays a tab, so that the mark stands below what it means
    lead = "".join("\t" if each == "\t" else " " for each in error.text[: error.column - 1])
    return "\n".join([head, error.text, lead + "~" * width])
