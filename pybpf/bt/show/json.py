"""Events as JSON, one object a line: a table from the class of an event to its type and data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pybpf.bt.runtime.events import Lost, MapShown, Printed, PrintedRun, Shown, TextShown, ValueShown, Warned
from pybpf.bt.show.values import Names, plain, text
from pybpf.bt.types import Tuple, Type
from pybpf.report import Stats, TimeSeries
from pybpf.report.histogram import Histogram

__all__ = ["attached_json", "event_json"]

#: integers beyond that are no exact doubles: they become text
_EXACT = 1 << 53
_encode = json.JSONEncoder(ensure_ascii=False).encode


def event_json(event: Shown) -> str:
    """The line of an event, or ``""``; of a run of them, their lines."""
    if isinstance(event, PrintedRun):
        return "".join([f'{{"type": "{event.name}", "data": {_encode(text)}}}\n' for text in event.texts])
    how = _DATA.get(type(event))
    if how is None:
        return ""
    kind, data = how(event)
    return _encode({"type": kind, "data": _exact(data)}) + "\n"


def attached_json(count: int) -> str:
    """The line that says how many probes there are."""
    return _encode({"type": "attached_probes", "data": {"probes": count}}) + "\n"


def _exact(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value) if -_EXACT <= value <= _EXACT else str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {key: _exact(each) for key, each in value.items()}
    return [_exact(each) for each in value] if isinstance(value, (list, tuple)) else value


def _map(event: MapShown) -> tuple[str, Any]:
    found = event.map
    kind, items = "map", {}
    for key, value in event.pairs:
        if isinstance(value, Histogram):
            kind, shown = "hist", value.to_dict()["buckets"]
        elif isinstance(value, TimeSeries):
            kind, shown = "tseries", value.to_list()
        elif isinstance(value, Stats):
            kind, shown = "stats", {"count": value.count, "average": value.average, "total": value.total}
        else:
            shown = found.plain_pair(key, value)[1]
        if found.key is None:
            return kind, {f"@{found.name}": shown}
        items[_key(found.key, key, found.names)] = shown
    return kind, {f"@{found.name}": items}


def _key(kind: Type, key: Any, names: Names) -> str:
    if isinstance(kind, Tuple):
        return ",".join(text(each, item, names) for each, item in zip(kind.items, key))
    return text(kind, key, names)


_DATA: Mapping[type, Callable[[Any], tuple[str, Any]]] = MappingProxyType({
    Lost: lambda event: ("lost_events", {"events": event.count}),
    MapShown: _map,
    Printed: lambda event: (event.name, event.text),
    TextShown: lambda event: (event.name, event.text),
    ValueShown: lambda event: ("value", plain(event.kind, event.raw, event.names)),
    Warned: lambda event: ("warning", event.message),
})  # fmt: skip
