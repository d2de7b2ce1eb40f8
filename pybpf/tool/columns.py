"""``Column`` and ``Rows``: a row per event or entry, in the columns of a table, as JSON, or as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pybpf.lazy import regex
from pybpf.record import NamedTuple
from pybpf.tool.output import Output, clean

__all__ = ["Column", "Rows"]

_CONVERSION = regex(r"(%-?\d*)(?:\.\d+)?[a-z]")


class Column(NamedTuple):
    """A column; in JSON and CSV all columns are there, whether a table shows them or not."""

    title: str
    format: str  #: of a value by ``%``, with what follows the column: ``"%-6d "``; the title takes the same room
    key: str  #: its name in JSON and CSV, which stays: lower case, with its unit, as in ``latency_ns``
    value: Callable[[Any], Any]  #: of a row: a number, text or None; text may come from a traced program
    shown: Any = True  #: whether tables have it
    text: Callable[[Any], Any] | None = None  #: what ``format`` is given for a row, as it is: text has to be clean()

    @property
    def header(self) -> str:
        """The title in its room."""
        return _CONVERSION.sub(r"\1s", self.format) % self.title


class Rows:
    """Writes rows to an output.

    :param style: of a row: a style of :meth:`Output.styled`, or ``""``.
    """

    def __init__(
        self, output: Output, columns: Sequence[Column], style: Callable[[Any], str] | None = None
    ) -> None:
        self.output = output
        self.columns = columns
        self._style = style if output.colour else None
        self._cells = [(each.format, each.text or _cleaned(each.value)) for each in columns if each.shown]
        self.write = {"text": self._text, "json": self._json, "csv": self._csv}[output.form]

    def header(self) -> None:
        """The titles, at once; JSON has none."""
        output = self.output
        if output.form == "text":
            output.line(output.styled("".join(each.header for each in self.columns if each.shown).rstrip(), "bold"))
        elif output.form == "csv":
            output.csv([each.key for each in self.columns])
        output.flush()

    def _text(self, row: Any) -> None:
        line = "".join([form % value(row) for form, value in self._cells]).rstrip(" ")
        style = self._style(row) if self._style is not None else ""
        self.output.line(self.output.styled(line, style) if style else line)

    def _json(self, row: Any) -> None:
        self.output.object({each.key: each.value(row) for each in self.columns})

    def _csv(self, row: Any) -> None:
        self.output.csv([each.value(row) for each in self.columns])


def _cleaned(value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Of a row: the number, or text that is safe to print."""

    def cell(row: Any) -> Any:
        found = value(row)
        return found if isinstance(found, (int, float)) else clean(found)

    return cell
