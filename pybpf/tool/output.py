"""``Output``: where a tool prints, as text, JSON or CSV; whole lines, many at a time when there are many."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pybpf.report import printable

if TYPE_CHECKING:
    from pybpf.report import Histogram

__all__ = ["Output", "clean", "width"]

_STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}
#: columns of a terminal that does not say how many it has
_COLUMNS = 80


class Output:
    """The standard output.

    Lines are kept until :meth:`flush`, which writes them by one system call: whoever reads them in a pipe sees them
    when the tool next waits.

    :param form: ``"text"``, ``"json"``, ``"csv"``, or ``"folded"``: lines, which only programs read.
    :ivar terminal: whether people look at it.
    :ivar colour: whether it shows styles.
    """

    def __init__(self, form: str = "text") -> None:
        self.form = form
        self._lines: list[str] = []
        self._csv: Any = None
        self._json: Any = None
        self.terminal = sys.stdout is not None and sys.stdout.isatty()
        self.colour = (
            self.terminal and form == "text" and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"
        )

    def line(self, text: str = "") -> None:
        """A line of text, which is safe to print: text of traced programs has passed :func:`clean`."""
        self._lines.append(text)

    def text(self, text: str) -> None:
        """Text that probes print, with the ends of its lines."""
        self._lines.append(text[:-1] if text.endswith("\n") else text)

    def say(self, text: str) -> None:
        """A line for people: printed at once in text, left out of other forms."""
        if self.form == "text":
            self.line(text)
            self.flush()

    def histogram(self, histogram: Histogram, unit: str) -> None:
        """A histogram as BCC prints it; on a terminal that is narrow with shorter bars."""
        text = histogram.text("bcc", unit)
        rows = text.split("\n")
        over = max(map(len, rows)) - width() if self.terminal else 0
        if over > 0:
            bar = rows[-1].rpartition("|")[0].rpartition("|")[2]
            rows = histogram.text("bcc", unit, max(1, len(bar) - over)).split("\n")
        self._lines += rows if text else ()

    def object(self, fields: Mapping[str, Any]) -> None:
        """A JSON object, on a line of its own."""
        if self._json is None:
            from json import JSONEncoder

            self._json = JSONEncoder(separators=(", ", ": "), default=str).encode
        self._lines.append(self._json(fields).replace("\x7f", "\\u007f"))

    def csv(self, cells: Sequence[Any]) -> None:
        """A row of comma-separated values."""
        if self._csv is None:
            import csv

            class Lines:
                """What the writer takes for a file."""

                write = self._lines.append

            self._csv = csv.writer(Lines, lineterminator="")
        self._csv.writerow([_cell(cell) for cell in cells])

    def styled(self, text: str, style: str) -> str:
        """``text`` in a style (``"bold"``, ``"red"``, ...) where the output shows colours."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour else text

    def flush(self) -> None:
        """Write what there is. :raises BrokenPipeError: nobody reads it any more."""
        if self._lines and sys.stdout is not None:
            text = "\n".join(self._lines) + "\n"
            self._lines.clear()
            sys.stdout.write(text)
            sys.stdout.flush()


def _cell(value: Any) -> Any:
    """A value for CSV: lists of words as a shell would read them."""
    if isinstance(value, (list, tuple)):
        from shlex import join

        value = join(map(str, value))
    return clean(value) if isinstance(value, str) else value


def clean(text: object) -> str:
    """Text of a traced program, made safe for a terminal."""
    return printable(os.fsdecode(text) if isinstance(text, bytes) else str(text))


def width() -> int:
    """Columns of the terminal, or of what stands for one (``COLUMNS``)."""
    from shutil import get_terminal_size

    return get_terminal_size((_COLUMNS, 24)).columns
