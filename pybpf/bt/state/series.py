"""What the processors keep of values by intervals of time, put together as series."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pybpf.bt.types import Aggregate
from pybpf.report import TimeSeries

__all__ = ["CLOCKS", "WAYS", "all_series"]

#: Clock of the programs -> the host's.
CLOCKS: Mapping[str, int] = MappingProxyType({
    "tai": getattr(time, "CLOCK_TAI", time.CLOCK_REALTIME),
    "boot": time.CLOCK_BOOTTIME,
    "monotonic": time.CLOCK_MONOTONIC,
})  # fmt: skip


def _average(values: Sequence[Any]) -> int:
    total, count = sum(each.value for each in values), sum(each.count for each in values)
    return int(abs(total) // count * (1 if total >= 0 else -1))


#: How the values of an interval are put together -> one value of those that the processors keep.
WAYS: Mapping[str, Callable[[Sequence[Any]], int]] = MappingProxyType({
    "": lambda values: max(values, key=lambda each: each.time).value,
    "avg": _average,
    "max": lambda values: max(each.value for each in values),
    "min": lambda values: min(each.value for each in values),
    "sum": lambda values: sum(each.value for each in values),
})  # fmt: skip


def all_series(kind: Aggregate, items: Sequence[tuple[Any, list[Any]]], keyed: bool) -> list[tuple[Any, TimeSeries]]:
    """The series by key, which all end with the last interval of the map.

    :param items: what is in the map: (number of an interval, or a key and that number; a value of each processor).
    """
    interval, number, way, clock = kind.options
    found: dict[Any, dict[int, int]] = {}
    for key, values in items:
        kept = [each for each in values if each.count]
        if not kept:
            continue
        last = max(each.epoch for each in kept)
        one = WAYS[way]([each for each in kept if each.epoch == last])
        found.setdefault(key.key if keyed else None, {})[last] = one
    end = max((epoch for epochs in found.values() for epoch in epochs), default=0)
    apart = time.time_ns() - time.clock_gettime_ns(CLOCKS[clock])
    if clock == "tai":  # by whole seconds
        apart = round(apart, -9)
    made = []
    for key, epochs in found.items():
        inside = [epoch for epoch in epochs if epoch > end - number]
        span = range(min(inside), end + 1) if inside else ()
        points = tuple((epoch * interval + apart, epochs.get(epoch)) for epoch in span)
        made.append((key, TimeSeries(interval, points)))
    return made
