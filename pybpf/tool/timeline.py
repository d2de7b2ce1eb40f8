"""``Timeline``: the events of a tool on a time line, in the file that ``--perfetto`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from pybpf.errors import BpfError
from pybpf.record import NamedTuple
from pybpf.tool.files import cannot_write

if TYPE_CHECKING:
    from pybpf.report import TraceEvents
    from pybpf.tool.columns import Column

__all__ = ["Moment", "Timeline"]


class Moment(NamedTuple):
    """How a row, which has ``pid`` and ``comm``, is shown on a time line."""

    name: Callable[[Any], str]  #: what is written on it
    lasted: Callable[[Any], int | None] = lambda row: None  #: nanoseconds; None: it takes no time
    time: Callable[[Any], int] = lambda row: int(row.time)  #: when it was, or ended, by ``ktime_ns()``


class Timeline:
    """The file.

    :param category: the name of the tool.
    :raises BpfError: it cannot be written.
    """

    def __init__(self, path: str, category: str) -> None:
        from pybpf.report import TraceEvents

        self._path = path
        try:
            self._file: IO[str] = open(path, "w", encoding="utf-8")  # noqa: SIM115  # closed by close()
        except OSError as error:
            raise cannot_write(path, error) from None
        self._events: TraceEvents = TraceEvents(self._file, category)

    def add(self, moment: Moment, row: Any, arguments: Mapping[str, Any]) -> None:
        """Add an event. :raises BpfError: the file cannot be written."""
        tid = getattr(row, "tid", row.pid)
        try:
            self._events.add(moment.name(row), moment.time(row), moment.lasted(row), row.pid, tid, row.comm, arguments)
        except OSError as error:
            raise self._failed(error) from None

    def row_adder(self, moment: Moment, columns: list[Column]) -> Callable[[Any], None]:
        """What adds rows; a click on one shows its columns."""
        shown = [column for column in columns if column.key != "time"]
        return lambda row: self.add(moment, row, {column.key: column.value(row) for column in shown})

    def close(self) -> None:
        """Write the end. :raises BpfError: it cannot be written."""
        try:
            self._events.close()
            self._file.close()
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> BpfError:
        """The error of a file that cannot be written; what is left in its buffer is not tried again."""
        with suppress(OSError):
            self._file.close()
        return cannot_write(self._path, error)
