"""Per-CPU maps: each CPU has its own value, so programs count without contention; and how to combine them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Union

from pybpf.maps.array import IndexedMap
from pybpf.maps.batch import Run
from pybpf.maps.codec import Codec, PerCpuCodec
from pybpf.maps.hash import HashTable
from pybpf.maps.mapping import DictMap
from pybpf.sys.bpf import Cmd, MapType
from pybpf.sys.cpus import num_possible_cpus
from pybpf.types import Layout, StructLayout, layout
from pybpf.types.layout import BoolLayout, IntLayout, TupleLayout

__all__ = ["LruPerCpuHash", "PerCpuArray", "PerCpuHash", "Reduce", "reducer"]

#: how to make one value of the values of all CPUs: a function of their list, or one per field of a Struct
Reduce = Union[Callable[[Sequence[Any]], Any], Mapping[str, Callable[[Sequence[Any]], Any]]]


class _PerCpu(DictMap):
    """What per-CPU maps add: values are lists with one value for each possible CPU, in order.

    Where the numbers of the possible CPUs have gaps (``0,2-3``) the lists have none: the second value is that of CPU 2.
    A map is written with a whole list, too. ``reduce`` combines the values of all CPUs into one: ``sum``, ``min``
    and ``max`` work field by field in Structs and element by element in arrays; a dict has a function for each
    field of a Struct (what it leaves out is added up); any other function gets the list. Results are Python
    integers: a sum does not wrap around.
    """

    def _value_codec(self) -> Codec:
        return PerCpuCodec(layout(self.value_type), num_possible_cpus())

    def sum(self, key: Any) -> Any:
        """The sum over all CPUs of what is under ``key``. :raises KeyError: nothing is."""
        return reducer(layout(self.value_type), sum)(self[key])

    def items(self, reduce: Reduce | None = None) -> Iterator[tuple[Any, Any]]:
        """Pairs of key and list, or of key and combined value."""
        return self._pairs(self._runs(), reduce)

    def drain(self, reduce: Reduce | None = None) -> Iterator[tuple[Any, Any]]:
        """As :meth:`items`, each deleted as it is read, see :meth:`DictMap.drain`."""
        return self._pairs(self._runs(Cmd.MAP_LOOKUP_AND_DELETE_BATCH), reduce)

    def values(self, reduce: Reduce | None = None) -> Iterator[Any]:
        """The lists, or combined values."""
        found = super().values()
        return found if reduce is None else map(reducer(layout(self.value_type), reduce), found)

    def _pairs(self, runs: Iterator[Run], reduce: Reduce | None = None) -> Iterator[tuple[Any, Any]]:
        pairs = super()._pairs(runs)
        if reduce is None:
            return pairs
        combine = reducer(layout(self.value_type), reduce)
        return ((key, combine(values)) for key, values in pairs)


class PerCpuHash(_PerCpu, HashTable):
    """A hash table with a value per CPU; parameters as for :class:`HashTable`."""

    map_type: ClassVar[MapType] = MapType.PERCPU_HASH

    _when_full = "raise max_entries, or use LruPerCpuHash, which drops the oldest elements"


class LruPerCpuHash(PerCpuHash):
    """A hash table with a value per CPU that drops elements which were not used for long."""

    map_type: ClassVar[MapType] = MapType.LRU_PERCPU_HASH


class PerCpuArray(_PerCpu, IndexedMap):
    """An array with a value per CPU; parameters as for :class:`IndexedMap`."""

    map_type: ClassVar[MapType] = MapType.PERCPU_ARRAY


_COLUMNWISE = (sum, min, max)


def reducer(kind: Layout[Any], reduce: Reduce) -> Callable[[Sequence[Any]], Any]:
    """The function that combines a list of values of type ``kind`` as ``reduce`` says, see :class:`PerCpuHash`.

    :raises TypeError: ``reduce`` names fields that are not there, or wants to add text.
    """
    if isinstance(reduce, Mapping):
        if not isinstance(kind, StructLayout):
            raise TypeError(f"a function for each field combines Structs, not {kind}")
        unknown = set(reduce) - set(kind.fields)
        if unknown:
            raise TypeError(f"{kind} has no field {', '.join(sorted(unknown))}; it has {', '.join(kind.fields)}")
        return _by_field(kind, {name: reduce.get(name, sum) for name in kind.fields})
    if reduce not in _COLUMNWISE or isinstance(kind, (IntLayout, BoolLayout)):
        return reduce
    if isinstance(kind, TupleLayout):
        inner = reducer(kind.element, reduce)
        return lambda values: tuple(map(inner, zip(*values)))
    if isinstance(kind, StructLayout):
        if not set(kind.codes) & set("s?"):  # only numbers: the raw items, column by column
            make = kind.from_items
            return lambda values: make(tuple(map(reduce, zip(*map(tuple.__iter__, values)))))
        return _by_field(kind, dict.fromkeys(kind.fields, reduce))
    raise TypeError(f"{reduce.__name__} cannot combine {kind}; give a function that can")


def _by_field(kind: StructLayout, functions: Mapping[str, Reduce]) -> Callable[[Sequence[Any]], Any]:
    parts = [(name, field.layout, reducer(field.layout, functions[name])) for name, field in kind.fields.items()]

    def combine(values: Sequence[Any]) -> Any:
        items: list[Any] = []
        for name, part, function in parts:
            items += _items(part, function([getattr(value, name) for value in values]))
        return kind.from_items(tuple(items))

    return combine


def _items(kind: Layout[Any], value: Any) -> tuple[Any, ...]:
    """The raw items of a combined value: as ``to_items``, but numbers may be larger than their type."""
    if isinstance(kind, IntLayout):
        return (value,)
    if isinstance(kind, StructLayout):
        return tuple(tuple.__iter__(value))
    if isinstance(kind, TupleLayout):
        return tuple(item for element in value for item in _items(kind.element, element))
    return kind.to_items(value)
