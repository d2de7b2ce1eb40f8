"""The maps of a script: how each lies in the kernel, and its typed items as Python reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from pybpf.bt.state.series import all_series
from pybpf.bt.syntax.source import Span
from pybpf.bt.types import Aggregate, Type
from pybpf.errors import BpfError
from pybpf.lang.state.counts import Counter
from pybpf.maps import MapSpec
from pybpf.report import LinearHistogram, Log2Histogram, Stats
from pybpf.sys.bpf import MapType
from pybpf.types import Struct, bool_, layout, u32, u64
from pybpf.types.scalars import ElementType

__all__ = ["KINDS", "NUMBERED", "ScriptMap", "histogram_of"]

#: How ``let @m = kind(entries)`` names the kernel's types of maps.
KINDS: Mapping[str, MapType] = MappingProxyType({
    "hash": MapType.HASH,
    "lruhash": MapType.LRU_HASH,
    "percpuhash": MapType.PERCPU_HASH,
    "percpulruhash": MapType.LRU_PERCPU_HASH,
})  # fmt: skip
_HISTOGRAMS = ("hist", "lhist")
_SERIES = "tseries"
#: Ways of aggregating that have several entries for a key, which are numbered.
NUMBERED = frozenset({*_HISTOGRAMS, _SERIES})
_PER_CPU = (MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH)


@cache
def _cell(kind: Any) -> Any:
    """The value of a map without keys, and whether there is one."""
    fields = {"value": kind, "there": bool_}
    return ElementType("Cell", (Struct,), {"__annotations__": fields, "__module__": __name__})


@cache
def _bucket(kind: Any) -> Any:
    """The key of a histogram's bucket."""
    fields = {"key": kind, "bucket": u32}
    return ElementType("Bucket", (Struct,), {"__annotations__": fields, "__module__": __name__})


def histogram_of(value: Aggregate) -> Log2Histogram | LinearHistogram:
    """An empty histogram of the same buckets."""
    if value.way == "hist":
        return Log2Histogram({}, *value.options)
    return LinearHistogram({}, *value.options)


class ScriptMap:
    """A map of a script.

    Without keys it is an array of one element, whose address programs know: a :data:`_cell`, or of a histogram its
    buckets. With keys it is a hash table; a histogram has an entry for each bucket that is not empty, as bpftrace's.

    :ivar name: without the ``@``.
    :ivar key: the type of its keys, or None.
    :ivar value: the type of its values.
    :ivar entries: how many fit.
    :ivar declared: what ``let`` declares it as, a key of :data:`KINDS`, or ``""``.
    :ivar span: where the script has it first.
    :ivar counter: how often a program could not store because it was full.
    """

    def __init__(
        self, name: str, key: Type | None, value: Type, entries: int, counter: Counter, declared: str, span: Span
    ) -> None:
        self.name = name
        self.key = key
        self.value = value
        self.entries = entries
        self.counter = counter
        self.declared = declared
        self.span = span
        self._map: Any = None
        self._zeroed = False

    @property
    def histogram(self) -> bool:
        """Whether its values are histograms."""
        return isinstance(self.value, Aggregate) and self.value.way in _HISTOGRAMS

    @property
    def series(self) -> bool:
        """Whether its values are series by time: an entry for each interval."""
        return isinstance(self.value, Aggregate) and self.value.way == _SERIES

    @property
    def numbered(self) -> bool:
        """Whether a key has several entries: one for each bucket or interval."""
        return self.histogram or self.series

    @property
    def per_cpu(self) -> bool:
        """Whether each CPU keeps its own values."""
        return isinstance(self.value, Aggregate) or KINDS.get(self.declared) in _PER_CPU

    @property
    def spec(self) -> MapSpec:
        """The kernel's map."""
        # names of maps without a name, and those that other maps of a program have, must not meet
        name = f"AT_{self.name}"
        if self.key is None:
            kind = MapType.PERCPU_ARRAY if self.per_cpu else MapType.ARRAY
            if self.histogram:
                assert isinstance(self.value, Aggregate)
                return MapSpec(kind, u32, u64, 1 + histogram_of(self.value).bucket_of((1 << 64) - 1), name)
            if self.series:
                return MapSpec(kind, u32, self.value.kind, self.value.options[1], name)  # type: ignore[attr-defined]
            return MapSpec(kind, u32, _cell(self.value.kind), 1, name)
        kind = KINDS.get(self.declared, MapType.PERCPU_HASH if self.per_cpu else MapType.HASH)
        key = _bucket(self.key.kind) if self.numbered else self.key.kind
        return MapSpec(kind, key, u64 if self.histogram else self.value.kind, self.entries, name)

    def bind(self, loaded: Any) -> None:
        """The map has been created."""
        self._map = loaded

    @property
    def map(self) -> Any:
        """The loaded map. :raises BpfError: it is not loaded, or closed."""
        if self._map is None:
            raise BpfError(f"@{self.name} cannot be read: the script does not run")
        return self._map

    # reading

    def items(self) -> list[tuple[Any, Any]]:
        """Pairs of key (None without keys) and value, raw: as the types' ``kind`` has them; aggregates put together."""
        if self.histogram:
            return list(self._histograms())
        if self.series:
            assert isinstance(self.value, Aggregate)
            return all_series(self.value, self.map.items(), self.key is not None)
        if self.key is None:
            return self._only()
        if isinstance(self.value, Aggregate):
            combine = _COMBINE[self.value.way]
            return [(key, combine(values)) for key, values in self.map.items()]
        if self.per_cpu:
            return [(key, sum(values)) for key, values in self.map.items()]
        return list(self.map.items())

    def _only(self) -> list[tuple[Any, Any]]:
        found = self.map[0]
        if not self.per_cpu:
            return [(None, found.value)] if found.there else []
        cells = [cell for cell in found if cell.there]
        if not cells:
            return [(None, _NOTHING_YET[self._way])] if self._zeroed else []
        if isinstance(self.value, Aggregate):
            return [(None, _COMBINE[self._way]([cell.value for cell in cells]))]
        return [(None, sum(cell.value for cell in cells))]

    @property
    def _way(self) -> str:
        return self.value.way if isinstance(self.value, Aggregate) else "sum"

    def _histograms(self) -> Iterator[tuple[Any, Any]]:
        assert isinstance(self.value, Aggregate)
        empty = histogram_of(self.value)
        found: dict[Any, dict[int, int]] = {}
        for key, count in self.map.items(sum):
            if self.key is not None:
                found.setdefault(key.key, {})[key.bucket] = count
            elif count:
                found.setdefault(None, {})[key] = count
        for key, counts in found.items():
            yield key, type(empty)(counts, *self.value.options)

    def nothing(self) -> list[tuple[Any, Any]]:
        """What a map without keys is taken for that has no value yet: zero; of histograms there is none."""
        if self.key is not None or self.numbered:
            return []
        if isinstance(self.value, Aggregate):
            return [(None, _NOTHING_YET[self.value.way])]
        how = layout(self.value.kind)
        return [(None, how.unpack(bytes(how.size)))]

    # changing

    def clear(self) -> None:
        """Forget all values."""
        self._zeroed = False
        self.map.clear()

    def delete(self, key: Any) -> None:
        """Forget all that is kept of a key of numbered entries."""
        for each, _ in list(self.map.items()):
            if each.key == key:
                del self.map[each]

    def zero(self) -> None:
        """Set all values to zero; keys stay."""
        if self.key is None:
            if self.numbered:
                self.map.clear()
                return
            self._zeroed = self._zeroed or bool(self._only())
            if self.per_cpu:
                self.map.clear()
            else:
                self.map[0] = self.map.spec.value()  # zero, and there is none
            return
        for key, value in list(self.map.items()):
            self.map[key] = _zero(self.map, value)

    def __repr__(self) -> str:
        return f"<map @{self.name}>"


def _zero(loaded: Any, value: Any) -> Any:
    """Zero as the map takes it: of each CPU."""
    how = layout(loaded.spec.value)
    zero = how.unpack(bytes(how.size))
    return [zero] * len(value) if isinstance(value, list) else zero


def _seen(values: Sequence[Any]) -> list[int]:
    return [each.value for each in values if each.seen]


def _stats(values: Sequence[Any]) -> Stats:
    return Stats(sum(each.count for each in values), sum(each.total for each in values))


#: Way of aggregating -> one value of those that the CPUs keep.
_COMBINE: Mapping[str, Callable[[Sequence[Any]], Any]] = MappingProxyType({
    "count": sum,
    "sum": sum,
    "min": lambda values: min(_seen(values), default=0),
    "max": lambda values: max(_seen(values), default=0),
    "avg": lambda values: _stats(values).average,
    "stats": _stats,
})  # fmt: skip
#: What is printed of a map without keys after ``zero()``.
_NOTHING_YET: Mapping[str, Any] = MappingProxyType(
    {"count": 0, "sum": 0, "min": 0, "max": 0, "avg": 0, "stats": Stats(0, 0)}
)
