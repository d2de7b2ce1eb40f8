"""Where events go: text or JSON to one stream, what goes wrong to another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TextIO

from pybpf.bt.runtime.events import MapShown, Shown
from pybpf.bt.show.text import event_errors, event_text

__all__ = ["Output", "output_of"]


class Output(ABC):
    """One format.

    :param stream: what is shown goes there.
    :param errors: what goes wrong goes there.
    :param buffering: ``"full"``: the stream is written when its buffer is full; else what an event gives is written
        at once.
    """

    def __init__(self, stream: TextIO, errors: TextIO, buffering: str = "line") -> None:
        self.stream = stream
        self.errors = errors
        self._at_once = buffering != "full"

    def write(self, text: str) -> None:
        """Write to the stream, as the buffering says."""
        self.stream.write(text)
        if self._at_once:
            self.stream.flush()

    def complain(self, event: Shown) -> None:
        """Say what went wrong, if anything did."""
        wrong = event_errors(event)
        if wrong:
            self.errors.write(wrong)
            self.errors.flush()

    @abstractmethod
    def attached(self, count: int) -> None:
        """So many probes are attached."""

    @abstractmethod
    def event(self, event: Shown) -> None:
        """Something has happened."""

    @abstractmethod
    def end(self, maps: Sequence[MapShown]) -> None:
        """The script has ended; these maps have something in them."""


class Text(Output):
    """As bpftrace prints it."""

    def attached(self, count: int) -> None:
        print(f"Attached {count} probe{'s'[: count != 1]}", file=self.errors, flush=True)

    def event(self, event: Shown) -> None:
        found = event_text(event)
        if found:
            self.write(found)
        self.complain(event)

    def end(self, maps: Sequence[MapShown]) -> None:
        self.write("\n\n" + "".join(map(event_text, maps)))


class Json(Output):
    """An object a line."""

    def __init__(self, stream: TextIO, errors: TextIO, buffering: str = "line") -> None:
        from pybpf.bt.show import json  # most want text

        super().__init__(stream, errors, buffering)
        self._json = json

    def attached(self, count: int) -> None:
        self.write(self._json.attached_json(count))

    def event(self, event: Shown) -> None:
        found = self._json.event_json(event)  # what goes wrong is an object, too
        if found:
            self.write(found)

    def end(self, maps: Sequence[MapShown]) -> None:
        for each in maps:
            self.write(self._json.event_json(each))


def output_of(format: str, stream: TextIO, errors: TextIO, buffering: str = "line") -> Output:
    """The output in a format: ``"text"`` or ``"json"``."""
    return (Json if format == "json" else Text)(stream, errors, buffering)
