"""The text of a script: where an offset stands in it, and errors that point there."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import NoReturn

from pybpf.errors import CompileError

__all__ = ["Source", "Span", "diagnostic"]

#: Offsets of the first character and of the one after the last.
Span = tuple[int, int]


#: characters of a line that messages show, and of them before what is meant
_MOST_SHOWN, _AROUND = 200, 50


class _Text:
    """One piece of text with a name: a file.

    :ivar base: the offset that its first character has.
    """

    def __init__(self, text: str, file: str, base: int = 0) -> None:
        self.text = text
        self.file = file
        self.base = base

    @cached_property
    def starts(self) -> list[int]:
        """Offsets in the text at which lines start."""
        starts = [0]
        at = self.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = self.text.find("\n", at + 1)
        return starts

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its end."""
        start = self.starts[number - 1]
        end = self.text.find("\n", start)
        return (self.text[start:] if end < 0 else self.text[start:end]).rstrip("\r")


class Source:
    """A script or a C definition, with the name that errors call it by; and what it imports, at offsets behind it."""

    def __init__(self, text: str, file: str = "<script>") -> None:
        self.text = text
        self.file = file
        self._texts = [_Text(text, file)]

    def include(self, text: str, file: str) -> int:
        """Another text, which this one imports; gives the offset that its first character has here."""
        last = self._texts[-1]
        base = last.base + len(last.text) + 1
        self._texts.append(_Text(text, file, base))
        return base

    def _at(self, offset: int) -> _Text:
        return self._texts[max(bisect_right([each.base for each in self._texts], offset) - 1, 0)]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1, in its file."""
        found = self._at(offset)
        offset -= found.base
        line = bisect_right(found.starts, offset)
        return line, offset - found.starts[line - 1] + 1

    def file_of(self, offset: int) -> str:
        """The name of the text that an offset is in."""
        return self._at(offset).file

    def whole(self) -> str:
        """All texts, so that offsets are those of spans."""
        return "\n".join(each.text for each in self._texts)

    def line(self, number: int) -> str:
        """The text of a line of the script itself, without its end."""
        return self._texts[0].line(number)

    def line_at(self, offset: int) -> str:
        """The text of the line that an offset is in, without its end."""
        return self._at(offset).line(self.position(offset)[0])

    def error(self, span: Span, message: str) -> CompileError:
        """The error that points at a span; of one over several lines, at the part on the first."""
        start, end = span
        line, column = self.position(start)
        text = self.line_at(start)
        width = max(1, min(end - start, len(text) - column + 1))
        return CompileError(message, self.file_of(start), line, column, column + width, text)

    def fail(self, span: Span, message: str) -> NoReturn:
        """:raises CompileError: always."""
        raise self.error(span, message)


def diagnostic(error: CompileError, severity: str = "ERROR") -> str:
    """An error as bpftrace prints it: ``file:line:first-last: ERROR: message``, the line, ``~`` below what is meant."""
    if not error.line:
        return f"{error.file}: {severity}: {error.message}" if error.file else f"{severity}: {error.message}"
    width = max(1, error.end_column - error.column)
    head = f"{error.file}:{error.line}:{error.column}-{error.column + width}: {severity}: {error.message}"
    text, column, width = _part(error.text, error.column, width)
    # a tab stays a tab, so that the mark stands below what it means
    lead = "".join("\t" if each == "\t" else " " for each in text[: column - 1])
    return "\n".join([head, text, lead + "~" * width])


def _part(text: str, column: int, width: int) -> tuple[str, int, int]:
    """What of a long line is shown, where in it that begins which is meant, and how much of it there is."""
    if len(text) <= _MOST_SHOWN:
        return text, column, width
    start = max(min(column - 1 - _AROUND, len(text) - _MOST_SHOWN), 0)
    end = start + _MOST_SHOWN
    before, behind = "..." if start else "", "..." if end < len(text) else ""
    return f"{before}{text[start:end]}{behind}", column - start + len(before), min(width, end - column + 1)
