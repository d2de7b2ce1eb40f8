"""Events as JSON, one object a line: a table from the class of an event to its type and data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pybpf.bt.runtime.events import Lost, MapShown, Printed, PrintedRun, Shown, TextShown, ValueShown, Warned
from pybpf.bt.show.text import divided
from pybpf.bt.show.values import Names, plain, text
from pybpf.bt.types import Aggregate, Tuple, Type
from pybpf.report import Stats, TimeSeries
from pybpf.report.histogram import Histogram

__all__ = ["attached_json", "event_json"]

_quote = json.JSONEncoder(ensure_ascii=False).encode


class _Fields(dict):  # type: ignore[type-arg]
    """An object that bpftrace writes without spaces."""


def _encode(value: Any) -> str:
    """JSON with bpftrace's spaces: in objects, and none in arrays."""
    if isinstance(value, dict):
        colon, comma = (":", ",") if isinstance(value, _Fields) else (": ", ", ")
        return f"{{{comma.join([_quote(key) + colon + _encode(each) for key, each in value.items()])}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_encode, value))}]"
    if isinstance(value, bytes):
        return _quote(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, int) and not isinstance(value, bool):
        value = int(value)
        return str(value) if int(float(value)) == value else f'"{value}"'  # what no double is becomes text
    return _quote(value)


def event_json(event: Shown) -> str:
    """The line of an event, or ``""``; of a run of them, their lines."""
    if isinstance(event, PrintedRun):
        return "".join([_printed(event.name, text, event.place) for text in event.texts])
    how = _DATA.get(type(event))
    if how is None:
        return ""
    return how(event)


def attached_json(count: int) -> str:
    """The line that says how many probes there are."""
    return _line("attached_probes", {"probes": count}, count=count)


def _line(kind: str, data: Any, **more: Any) -> str:
    return _encode({"type": kind, **more, "data": data}) + "\n"


def _wrong(kind: str, message: str, place: str) -> str:
    """What went wrong, and where: ``place`` is FILE:LINE:FIRST-LAST."""
    file, line, columns = place.rsplit(":", 2)
    column = int(columns.partition("-")[0])
    return _encode({"type": kind, "msg": message, "filename": file, "line": int(line), "col": column}) + "\n"


def _printed(name: str, text: str, place: str) -> str:
    return _line(name, text) if name == "printf" else _wrong(name, text, place)


def _map(event: MapShown) -> str:
    found = event.map
    kind, items = "map", {}
    if isinstance(found.value_type, Aggregate) and found.value_type.way == "avg":
        kind = "stats"
    for key, value in event.pairs:
        if isinstance(value, Histogram):
            kind, shown = "hist", value.to_dict()["buckets"]
        elif isinstance(value, TimeSeries):
            kind, shown = "tseries", list(map(_Fields, value.to_list()))
        elif isinstance(value, Stats):
            value = divided(value, event.divisor)
            kind, shown = "stats", {"count": value.count, "average": value.average, "total": value.total}
        else:
            shown = found.plain_pair(key, divided(value, event.divisor))[1]
        if found.key is None:
            return _line(kind, {f"@{found.name}": shown})
        items[_key(found.key, key, found.names)] = shown
    return _line(kind, {f"@{found.name}": items})


def _key(kind: Type, key: Any, names: Names) -> str:
    if isinstance(kind, Tuple):
        return ",".join(text(each, item, names) for each, item in zip(kind.items, key))
    return text(kind, key, names)


_DATA: Mapping[type, Callable[[Any], str]] = MappingProxyType({
    Lost: lambda event: _line("lost_events", {"events": event.count}, count=event.count),
    MapShown: _map,
    Printed: lambda event: _printed(event.name, event.text, event.place),
    TextShown: lambda event: _line(event.name, event.text.rstrip("\n") if event.name == "join" else event.text),
    ValueShown: lambda event: _line("value", plain(event.kind, event.raw, event.names)),
    Warned: lambda event: _wrong("runtime_error", event.message, event.place),
})  # fmt: skip
