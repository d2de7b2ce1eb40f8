"""Events as the text that bpftrace prints: a table from the class of an event to its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pybpf.bt.runtime.events import (
    Exited,
    Lost,
    MapShown,
    Printed,
    PrintedRun,
    Shown,
    TextShown,
    ValueShown,
    Warned,
)
from pybpf.bt.show.values import Names, text
from pybpf.bt.types import Tuple, Type
from pybpf.report import Stats, TimeSeries
from pybpf.report.histogram import Histogram

__all__ = ["divided", "event_errors", "event_text", "map_text"]


def event_text(event: Shown) -> str:
    """What goes to the output."""
    return _OUTPUT[type(event)](event)


def event_errors(event: Shown) -> str:
    """What goes to the error output."""
    how = _ERRORS.get(type(event))
    return "" if how is None else how(event)


def _printed(event: Printed) -> str:
    return event.text if event.name == "printf" else ""


def _printed_errors(event: Printed) -> str:
    word = _SEVERITIES.get(event.name)
    return "" if word is None else _told(event.place, word, event.text)


def _run(event: PrintedRun) -> str:
    return "".join(event.texts) if event.name == "printf" else ""


def _run_errors(event: PrintedRun) -> str:
    word = _SEVERITIES.get(event.name)
    return "" if word is None else "".join(_told(event.place, word, text) for text in event.texts)


def _told(place: str, word: str, text: str) -> str:
    """A line of its own, whether the text ends in one or not."""
    end = "" if text.endswith("\n") else "\n"
    return f"{place}: {word}: {text}{end}"


def _value(event: ValueShown) -> str:
    return text(event.kind, event.raw, event.names) + "\n"


def map_text(event: MapShown) -> str:
    """The entries of a map, each on a line; histograms and stacks on several."""
    found = event.map
    return "".join(_entry(found.name, found.key, key, found.value_type, value, event) for key, value in event.pairs)


def _entry(name: str, key_type: Type | None, key: Any, kind: Type, value: Any, event: MapShown) -> str:
    names = event.map.names
    head = f"@{name}" if key_type is None else f"@{name}[{_key(key_type, key, names)}]"
    if isinstance(value, (Histogram, TimeSeries)):
        return f"{head}:\n{value.text()}\n\n"
    return f"{head}: {text(kind, divided(value, event.divisor), names)}\n"


def divided(value: Any, divisor: int) -> Any:
    """The value of a map as ``print(@, top, divisor)`` shows it."""
    if divisor == 1 or not isinstance(value, (int, Stats)):
        return value
    if isinstance(value, Stats):
        return Stats(value.count, value.total // divisor)
    return abs(value) // divisor * (1 if value >= 0 else -1)


def _key(kind: Type, key: Any, names: Names) -> str:
    """A key between brackets: the items of a tuple without parentheses."""
    if isinstance(kind, Tuple):
        return ", ".join(text(each, item, names) for each, item in zip(kind.items, key))
    return text(kind, key, names)


def _nothing(event: Shown) -> str:
    return ""


_SEVERITIES: Mapping[str, str] = MappingProxyType({"errorf": "ERROR", "warnf": "WARNING"})
_OUTPUT: Mapping[type, Callable[[Any], str]] = MappingProxyType({
    Exited: _nothing,
    Lost: _nothing,
    MapShown: map_text,
    Printed: _printed,
    PrintedRun: _run,
    TextShown: lambda event: event.text,
    ValueShown: _value,
    Warned: _nothing,
})  # fmt: skip
_ERRORS: Mapping[type, Callable[[Any], str]] = MappingProxyType({
    Lost: lambda event: f"Lost {event.count} events\n",
    Printed: _printed_errors,
    PrintedRun: _run_errors,
    Warned: lambda event: f"{event.place}: {event.severity}: {event.message}\n",
})  # fmt: skip
