"""The maps of a running script, as Python reads them: typed keys and values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pybpf.bt.show.values import Names, plain
from pybpf.bt.state.maps import ScriptMap
from pybpf.bt.types import Aggregate, Integer, Special, Type
from pybpf.report import Stats
from pybpf.report.histogram import Histogram

__all__ = ["RunningMap"]


class RunningMap:
    """A map: what :meth:`items` gives are Python's own values.

    Integers are int, text is str, buffers are bytes, tuples are tuples, records and structs dicts, stacks text;
    histograms :class:`pybpf.report.Log2Histogram` and :class:`pybpf.report.LinearHistogram`, stats
    :class:`pybpf.report.Stats`, series :class:`pybpf.report.TimeSeries`.

    :ivar name: without the ``@``.
    :ivar key: the type of its keys, or None.
    :ivar value_type: the type of its values.
    """

    def __init__(self, found: ScriptMap, names: Names) -> None:
        self.map = found
        self.names = names
        self.name = found.name
        self.key = found.key
        self.value_type = found.value
        self._named = isinstance(found.key, Special)

    @property
    def shown_type(self) -> Type:
        """The type that its values are printed as."""
        return self.value_type

    def plain_pair(self, key: Any, value: Any) -> tuple[Any, Any]:
        """A raw pair as Python's own values."""
        return (
            None if self.key is None else plain(self.key, key, self.names),
            value if isinstance(self.value_type, Aggregate) else plain(self.value_type, value, self.names),
        )

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Pairs of key and value; the key is None where there are no keys."""
        return (self.plain_pair(key, value) for key, value in self.map.items())

    @property
    def value(self) -> Any:
        """The value of a map without keys, None where it has none. :raises TypeError: it has keys."""
        if self.key is not None:
            raise TypeError(f"@{self.name} has keys: read items()")
        return next((value for _, value in self.items()), None)

    def __getitem__(self, key: Any) -> Any:
        for each, value in self.items():
            if each == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        return len(self.map.items())

    def clear(self) -> None:
        """Delete all entries."""
        self.map.clear()

    @property
    def dropped(self) -> int:
        """How many values found the map full."""
        return self.map.counter.value

    def ordered(self, top: int = 0) -> list[tuple[Any, Any]]:
        """Raw pairs in the order in which bpftrace prints them: by value where that is a number, else by key.

        :param top: only the last ones; 0: all.
        """
        pairs = self.map.items()
        key = self.key
        if key is not None:
            try:
                pairs.sort(key=lambda pair: plain(key, pair[0], self.names) if self._named else pair[0])
            except TypeError:  # structs do not compare
                pairs.sort(key=lambda pair: repr(pair[0]))
        if isinstance(self.value_type, (Integer, Aggregate)) and not self.map.series:
            pairs.sort(key=lambda pair: _size(pair[1]))
        return pairs[-top:] if top else pairs

    def __repr__(self) -> str:
        return f"<map @{self.name}>"


def _size(value: Any) -> int:
    if isinstance(value, Histogram):
        return value.count
    return value.average if isinstance(value, Stats) else int(value)
