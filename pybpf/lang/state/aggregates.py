"""Counts, sums, extremes, averages and histograms: each CPU keeps its own, Python sees them together.

Made by :class:`~pybpf.lang.Tracer`. In a probe: ``hits.add()``, or with ``key=`` given ``sizes[comm()].add(n)``.
In Python: ``hits.value``, or ``sizes[key]``, ``sizes.items()``; ``print(sizes)`` prints all as bpftrace does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Union

from pybpf.errors import DeclarationError
from pybpf.lang.builtins.stacks import KernelStack, UserStack, key_with_stacks
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.maps import ENTRIES, TracerMap, Variable, key_type
from pybpf.maps import MapSpec
from pybpf.record import replace
from pybpf.report import LinearHistogram, Log2Histogram, Stats, keyed, one_value
from pybpf.report.text import check_look
from pybpf.sys.bpf import MapType
from pybpf.sys.rcu import wait_for_programs
from pybpf.types import Int, s64, sizeof, u32, u64
from pybpf.types.scalars import ElementType
from pybpf.types.struct import Struct

if TYPE_CHECKING:
    from pybpf.maps import Map

__all__ = ["Aggregate", "HistogramMap", "Tally"]

Shape = Union[Log2Histogram, LinearHistogram]


def _struct(name: str, **fields: Any) -> Any:
    return ElementType(name, (Struct,), {"__annotations__": fields, "__module__": __name__})


class Buffer(TracerMap):
    """The second map of an aggregate that has two, for the time in which the first is read and emptied."""


class Aggregate(TracerMap):
    """What all aggregates share.

    With ``double_buffered`` there are two maps, and a variable says which of them probes add to. :meth:`changes` turns
    it, waits until no probe runs that has seen what it was, and then takes all out of the map that is quiet.

    :ivar key: the type of the keys, or None.
    :ivar way: how values are put together: a key of the table in :mod:`pybpf.lang.state.tallies`, or ``"histogram"``.
    :ivar number: the integer type that values are kept in.
    :ivar shape: an empty histogram of the same buckets, or None.
    :ivar second: the other map, or None.
    :ivar turn: of two maps, which one probes add to: 0 or 1; else None.
    """

    _val_module = "tallies"
    _val = "TallyVal"

    def __init__(self, way: str, key: Any, value: Any, entries: int, counts: Counts, name: str,
                 double_buffered: bool) -> None:  # fmt: skip
        self.way = way
        self.key = key
        self.number: type[Int] = u64
        self.shape: Shape | None = None
        self._before: Any = None  # what changes() has seen
        kind = MapType.PERCPU_ARRAY if key is None else MapType.PERCPU_HASH
        super().__init__(MapSpec(kind, u32 if key is None else key, value, entries, name), counts)
        self.second: Buffer | None = None
        self.turn: Variable | None = None
        if double_buffered:
            if key is None:
                raise DeclarationError("double_buffered makes room for other keys: give key=..., or leave it out")
            self.second, self.turn = Buffer(self.spec, counts), Variable(u32, counts)
            self.beside = self.second, self.turn
            self.name = name

    @property
    def name(self) -> str:
        """The map's name; the tracer gives one to a map that has none."""
        return self._spec.name

    @name.setter
    def name(self, name: str) -> None:
        self._spec = replace(self._spec, name=name)
        for each, suffix in zip(self.beside, ("second", "turn")):
            each.name = name and f"{name}_{suffix}"

    def bind(self, loaded: Map) -> None:
        super().bind(loaded)
        self._quiet: Map | None = None  # of two maps, the one that probes do not add to, once they have changed

    @property
    def map(self) -> Any:
        """The loaded map that probes add to, an object of :mod:`pybpf.maps`.

        :raises BpfError: the tracer is not loaded.
        :raises ClosedError: it is closed.
        """
        if self.second is not None and self._map is not None and self._quiet is self._map:
            return self.second.map
        return super().map

    def add(self, value: int = 1) -> None:
        """In a probe: count one more value. :raises BpfError: outside of one."""
        from pybpf.errors import BpfError

        raise BpfError("add() works only in a probe, a function that a tracer's decorator compiles")

    @property
    def value(self) -> Any:
        """What has been aggregated, without keys. :raises DeclarationError: it has keys."""
        if self.key is not None:
            raise DeclarationError(f"{self._what} has keys: read x[key] or x.items()")
        return self._whole()

    def _whole(self) -> Any:
        raise NotImplementedError

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Pairs of key and what has been aggregated under it. :raises DeclarationError: it has no keys."""
        self._check_keyed()
        return self._of(self.map.items())

    def __getitem__(self, key: Any) -> Any:
        """What has been aggregated under a key. :raises KeyError: nothing."""
        raise NotImplementedError

    def _check_keyed(self) -> None:
        if self.key is None:
            raise DeclarationError(f"{self._what} has no keys: read x.value")

    def get(self, key: Any, default: Any = None) -> Any:
        """What has been aggregated under a key, or ``default``."""
        try:
            return self[key]
        except KeyError:
            return default

    def keys(self) -> Iterator[Any]:
        """The keys."""
        return (key for key, _ in self.items())

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    def __len__(self) -> int:
        """How many keys there are."""
        return sum(1 for _ in self.items())

    def __bool__(self) -> bool:
        return True

    def clear(self) -> None:
        """Begin anew. What probes are adding just then is lost; :meth:`changes` loses nothing."""
        self.map.clear()
        self._before = None

    def changes(self) -> Any:
        """What was added since the last call, at first since the start: of keys a dict, without those that stay.

        Every value that is added is in exactly one of the results. Nothing is cleared; but a double-buffered aggregate
        is empty then, so that there is room for ``max_entries`` keys between any two calls.

        :raises DeclarationError: of averages and extremes nobody knows that, unless they are double-buffered: take
            ``stats``.
        """
        if self.second is not None:
            return self._taken()
        if self.way in ("avg", "min", "max"):
            raise DeclarationError(f"what was added to an {self.way} is not known: make {self._what} by tracer.stats()")
        before, keyed = self._before, self.key is not None
        self._before = now = dict(self.items()) if keyed else self.value
        if before is None:
            return dict(now) if keyed else now
        if not keyed:
            return now - before
        return {key: value - before[key] if key in before else value
                for key, value in now.items() if value != before.get(key)}  # fmt: skip

    def _taken(self) -> dict[Any, Any]:
        """Turn to the other map, and take all out of this one."""
        assert self.second is not None and self.turn is not None
        full = self.map
        self._quiet = full
        self.turn.value = int(full is not self.second.map)
        wait_for_programs()
        return dict(self._of(full.drain()))

    def _of(self, pairs: Iterator[tuple[Any, Sequence[Any]]]) -> Iterator[tuple[Any, Any]]:
        """What pairs of the map's key and the values of all CPUs say."""
        raise NotImplementedError

    def forget(self, key: Any) -> None:
        """Make room for other keys. What was added under this one since the last :meth:`changes` is lost.

        Does nothing where there is no such key. :raises DeclarationError: it has no keys.
        """
        self._check_keyed()
        self._delete(key)
        if self._before is not None:
            self._before.pop(key, None)

    def _delete(self, key: Any) -> None:
        self.map.pop(key, None)

    def to_dict(self) -> Any:
        """All of it as plain numbers, lists and dicts: what is under each key, or the one value.

        Of histograms see :meth:`pybpf.report.Histogram.to_dict`. The keys are as elsewhere: for JSON see
        :meth:`to_json`.
        """
        if self.key is None:
            return _plain(self.value)
        return {key: _plain(value) for key, value in self.items()}

    def to_json(self) -> Any:
        """What :func:`json.dumps` takes: of the one value what :meth:`to_dict` gives, else a list of ``{"key": ...,
        "value": ...}``. Of a key of several parts, or a struct, ``"key"`` is a list; of a stack a list of its frames.
        """
        if self.key is None:
            return _plain(self.value)
        return [{"key": _json(key), "value": _plain(value)} for key, value in self.items()]

    def text(self, style: str = "bpftrace", unit: str = "value") -> str:
        """All of it as bpftrace (or ``"bcc"``) prints it, see :func:`pybpf.report.keyed`, and
        :func:`pybpf.report.one_value` where there are no keys: ``@NAME: 35``.

        :param unit: what a histogram counts, in BCC's style a column's title: ``"usecs"``.
        :raises PackError: there is no such style, or the unit is no text.
        """
        check_look(style, unit)
        if self.key is None:
            return one_value(self.value, self.name, style, unit)
        return keyed(dict(self.items()), self.name, style, unit, key_with_stacks)

    def __str__(self) -> str:
        return self.text()


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def _json(key: Any) -> Any:
    if isinstance(key, (KernelStack, UserStack)):
        return [str(frame) for frame in key.frames]
    if isinstance(key, Struct) and type(key).__str__ is not Struct.__str__:
        return str(key)  # an address, as text
    if isinstance(key, bytes):
        return list(key)
    return [_json(each) for each in key] if isinstance(key, tuple) else key


def _sum_of(values: Sequence[Any]) -> int:
    return sum(values)


def _average_of(values: Sequence[Any]) -> int:
    return Stats(sum(each.count for each in values), sum(each.total for each in values)).average


def _extreme_of(name: str, choose: Callable[[Iterator[int]], int]) -> Callable[[Sequence[Any]], int | None]:
    def combine(values: Sequence[Any]) -> int | None:
        seen = [getattr(each, name) for each in values if each.count]
        return choose(iter(seen)) if seen else None

    return combine


def _stats_of(values: Sequence[Any]) -> Stats:
    seen = [each for each in values if each.count]
    return Stats(
        sum(each.count for each in seen),
        sum(each.total for each in seen),
        min((each.min for each in seen), default=None),
        max((each.max for each in seen), default=None),
    )


#: Way -> the fields of a value beside the count (none: the value is one number), and one result of all CPUs' values.
_WAYS: Mapping[str, tuple[tuple[str, ...], Callable[[Sequence[Any]], Any]]] = MappingProxyType({
    "count": ((), _sum_of),
    "sum": ((), _sum_of),
    "avg": (("total",), _average_of),
    "min": (("min",), _extreme_of("min", min)),
    "max": (("max",), _extreme_of("max", max)),
    "stats": (("total", "min", "max"), _stats_of),
})  # fmt: skip


class Tally(Aggregate):
    """``tracer.count()``, ``sum()``, ``min()``, ``max()``, ``avg()``, ``stats()``.

    Results are integers, None for the extremes of nothing, and :class:`~pybpf.report.Stats` for ``stats``.

    :param way: one of these names.
    :param key: type of the keys, or a tuple of types; None: one result.
    :param kind: the integer type that values are kept in; sums wrap around in it.
    :param double_buffered: :meth:`changes` empties it.
    """

    def __init__(self, way: str, counts: Counts, key: Any = None, kind: Any = s64, max_entries: int = ENTRIES,
                 name: str = "", double_buffered: bool = False) -> None:  # fmt: skip
        if way not in _WAYS:
            raise ValueError(f"a way to aggregate is {', '.join(_WAYS)}, not {way!r}")
        if not (isinstance(kind, type) and issubclass(kind, Int) and sizeof(kind) == 8):
            raise DeclarationError(f"values are kept as u64 or s64, not {kind!r}")
        number = u64 if way == "count" else kind
        fields, self._combine = _WAYS[way]
        value = _struct(way.capitalize(), count=u64, **dict.fromkeys(fields, number)) if fields else number
        super().__init__(way, None if key is None else key_type(key), value, 1 if key is None else max_entries,
                         counts, name, double_buffered)  # fmt: skip
        self.number = number

    def _whole(self) -> Any:
        return self._combine(self.map[0])

    def _of(self, pairs: Iterator[tuple[Any, Sequence[Any]]]) -> Iterator[tuple[Any, Any]]:
        return ((key, self._combine(values)) for key, values in pairs)

    def __getitem__(self, key: Any) -> Any:
        self._check_keyed()
        return self._combine(self.map[key])


class HistogramMap(Aggregate):
    """``tracer.histogram()`` and ``tracer.linear(lo, hi, step)``: how many values fell into each bucket.

    Results are :class:`~pybpf.report.Log2Histogram` and :class:`~pybpf.report.LinearHistogram`.

    :param shape: an empty histogram of the buckets that are wanted.
    :param key: type of the keys, or a tuple of types; None: one histogram.
    :param max_entries: with keys: how many buckets that are not empty fit, of all keys together.
    :param double_buffered: :meth:`changes` empties it.
    """

    def __init__(self, shape: Shape, counts: Counts, key: Any = None, max_entries: int = ENTRIES,
                 name: str = "", double_buffered: bool = False) -> None:  # fmt: skip
        whole = None if key is None else _struct("Bucket", key=key_type(key), bucket=u32)
        buckets = 1 + shape.bucket_of((1 << 64) - 1)
        entries = buckets if key is None else max_entries
        super().__init__("histogram", whole, u64, entries, counts, name, double_buffered)
        self.shape: Shape = shape

    def _made(self, found: Mapping[int, int]) -> Shape:
        shape = self.shape
        if isinstance(shape, Log2Histogram):
            return Log2Histogram(found, shape.bits)
        return LinearHistogram(found, shape.lo, shape.hi, shape.step)

    def _whole(self) -> Any:
        return self._made(dict(self.map.items(sum)))

    def percentile(self, p: float) -> float:
        """The value that ``p`` per cent of all values do not exceed, see :meth:`pybpf.report.Histogram.percentile`.

        :raises DeclarationError: it has keys: ask ``x[key].percentile(p)``.
        """
        found: float = self.value.percentile(p)
        return found

    def _of(self, pairs: Iterator[tuple[Any, Sequence[Any]]]) -> Iterator[tuple[Any, Any]]:
        found: dict[Any, dict[int, int]] = {}
        for whole, values in pairs:
            found.setdefault(whole.key, {})[whole.bucket] = sum(values)
        return ((key, self._made(counts)) for key, counts in found.items())

    def __getitem__(self, key: Any) -> Any:
        for each, histogram in self.items():
            if each == key:
                return histogram
        raise KeyError(key)

    def _delete(self, key: Any) -> None:
        for whole in [each for each in self.map if each.key == key]:
            del self.map[whole]
