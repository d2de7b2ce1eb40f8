"""``TraceEvents``: events on a time line, in the JSON that Perfetto and Chrome's trace viewer read.

The format is Chrome's "Trace Event Format", an object with a list ``traceEvents``; it is written as events come, so
that a long run takes no memory. What lasts is written as an asynchronous pair: of one thread many may overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from json import JSONEncoder
from typing import IO, Any

from pybpf.report.text import printable

__all__ = ["TraceEvents"]


class TraceEvents:
    """Writes to a text stream, which stays open.

    :param category: of all events: the name of what made them.
    """

    def __init__(self, stream: IO[str], category: str) -> None:
        self._stream = stream
        self._category = category
        self._encode = JSONEncoder(separators=(",", ":"), default=str).encode
        self._named: dict[tuple[str, int], str] = {}
        self._pairs = 0
        stream.write('{"displayTimeUnit":"ns","traceEvents":[')
        self._first = True

    def add(
        self, name: str, time: int, lasted: int | None, pid: int, tid: int, comm: str, arguments: Mapping[str, Any]
    ) -> None:
        """Add an event.

        :param time: when it was, or ended, in nanoseconds of any clock.
        :param lasted: nanoseconds, or None for what takes no time.
        :param comm: the name of the thread; its last one stays.
        :param arguments: what a click on it shows.
        """
        self._name("thread_name", pid, tid, comm)
        if pid == tid:
            self._name("process_name", pid, tid, comm)
        fields: dict[str, Any] = {"name": printable(name), "cat": self._category, "pid": pid, "tid": tid}
        if lasted is None:
            self._write({**fields, "ph": "i", "s": "t", "ts": time / 1000, "args": arguments})
            return
        self._pairs += 1
        fields["id"] = self._pairs
        self._write({**fields, "ph": "b", "ts": (time - lasted) / 1000, "args": arguments})
        self._write({**fields, "ph": "e", "ts": time / 1000})

    def close(self) -> None:
        """The end of the list. Viewers read a file without it, too: of a run that was killed."""
        self._stream.write("\n]}\n")

    def _name(self, kind: str, pid: int, tid: int, name: str) -> None:
        if self._named.get((kind, tid)) != name:
            self._named[kind, tid] = name
            self._write({"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": printable(name)}})

    def _write(self, event: Mapping[str, Any]) -> None:
        self._stream.write(("\n" if self._first else ",\n") + self._encode(event))
        self._first = False
