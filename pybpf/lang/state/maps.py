"""The maps of a tracer: in a probe they compile to map operations, in Python they are the loaded map of pybpf.maps.

Made by :class:`~pybpf.lang.Tracer` (``tracer.hash(u32, u64)``). They exist in the kernel while the tracer is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from pybpf.errors import BpfError, ClosedError, DeclarationError
from pybpf.lang.state.counts import Counter, Counts
from pybpf.maps import MapSpec
from pybpf.maps.spec import NO_FLAGS
from pybpf.record import replace
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.types import Struct, bool_, layout, u32
from pybpf.types.scalars import ElementType

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.state.entries import MapVal
    from pybpf.maps import Map

__all__ = [
    "Array", "Hash", "Lpm", "LruHash", "LruPerCpuHash", "PerCpuArray", "PerCpuHash", "PinnedHash", "Queue", "Stack",
    "TracerMap", "Variable", "is_parts", "key_type", "value_type",
]  # fmt: skip

#: max_entries of a map that is made without
ENTRIES = 10240


def value_type(kind: Any) -> Any:
    """A type as maps take it: Python's ``int`` and ``bool`` have one, too. :raises DeclarationError: it is none."""
    kind = bool_ if kind is bool else kind
    layout(kind)
    return kind


def key_type(kind: Any) -> Any:
    """The type of keys: a type, or a tuple of types, which becomes a Struct.

    >>> key_type((u32, u32))
    <class 'pybpf.lang.state.maps.Key'>
    """
    if not isinstance(kind, tuple):
        return value_type(kind)
    if not kind:
        raise DeclarationError("a key of several parts has at least one: key=(char[16], u16)")
    fields = {f"part{number}": value_type(part) for number, part in enumerate(kind)}
    # __annotations__ are what Struct makes its fields of
    return ElementType("Key", (Struct,), {"__annotations__": fields, "__module__": __name__, "__repr__": _as_tuple})


def is_parts(kind: Any) -> bool:
    """Whether a type of keys was declared as a tuple of types."""
    return isinstance(kind, type) and vars(kind).get("__repr__") is _as_tuple


def _as_tuple(key: Struct) -> str:
    return repr(tuple(key))


class TracerMap:
    """A map that probes and Python share.

    :ivar counter: how often a probe could not store because the map was full.
    :ivar beside: other maps that it is made with.
    """

    beside: tuple[TracerMap, ...] = ()

    type: ClassVar[MapType]

    def __init__(self, spec: MapSpec, counts: Counts) -> None:
        self._spec = spec
        self.counter: Counter = counts.counter()
        self._map: Any = None

    @property
    def spec(self) -> MapSpec:
        """What is created in the kernel."""
        return self._spec

    @property
    def name(self) -> str:
        """The map's name; the tracer gives one to a map that has none."""
        return self._spec.name

    @name.setter
    def name(self, name: str) -> None:
        self._spec = replace(self._spec, name=name)

    @property
    def dropped(self) -> int:
        """How many times a probe could not store a value, because the map was full."""
        return self.counter.value

    def create(self, spec: MapSpec) -> Map:
        """The map in the kernel; the tracer calls this, with its own specification."""
        return spec.create()

    def bind(self, loaded: Map) -> None:
        """The map has been created; the tracer calls this."""
        self._map = loaded

    @property
    def map(self) -> Any:
        """The loaded map, an object of :mod:`pybpf.maps`.

        :raises BpfError: the tracer is not loaded.
        :raises ClosedError: it is closed.
        """
        if self._map is None:
            raise BpfError(f"{self._what} is not in the kernel yet: use it inside 'with tracer:'")
        if self._map.fd.closed:
            raise ClosedError(f"{self._what} was closed with its tracer: use it inside 'with tracer:', before the end")
        return self._map

    @property
    def _what(self) -> str:
        return f"the map {self.name!r}" if self.name else "this map"

    def __probe_value__(self, gen: Gen) -> MapVal:
        # not loaded before something is compiled
        made: MapVal = getattr(import_module(f"pybpf.lang.state.{self._val_module}"), self._val)(gen, self)
        return made

    #: the class that compiles operations on it, and the module that has it
    _val: ClassVar[str]
    _val_module: ClassVar[str] = "entries"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of a tracer>"


class _Keyed(TracerMap):
    """A map with keys, as a dict; see :class:`pybpf.maps.HashMap` and its like for what each method does."""

    def __init__(self, key: Any, value: Any, max_entries: int, counts: Counts, name: str = "",
                 flags: MapFlags = NO_FLAGS) -> None:  # fmt: skip
        super().__init__(MapSpec(self.type, key_type(key), value_type(value), max_entries, name, flags), counts)

    def __getitem__(self, key: Any) -> Any:
        return self.map[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.map[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.map[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.map

    def __iter__(self) -> Iterator[Any]:
        return iter(self.map.keys())

    def __len__(self) -> int:
        return len(self.map)

    def __bool__(self) -> bool:
        return True

    def keys(self) -> Iterator[Any]:
        """The keys."""
        found: Iterator[Any] = self.map.keys()
        return found

    def values(self) -> Iterator[Any]:
        """The values."""
        found: Iterator[Any] = self.map.values()
        return found

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Pairs of key and value."""
        found: Iterator[tuple[Any, Any]] = self.map.items()
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        """The value under ``key``, or ``default``. In a probe, too."""
        return self.map.get(key, default)

    def update(self, *others: Any) -> None:
        """Store the items of mappings, or pairs of key and value."""
        self.map.update(*others)


class Hash(_Keyed):
    """A hash table. In a probe: ``m[k]``, ``m[k] = v``, ``m[k] += n`` (atomic; from zero where there is no entry),
    ``del m[k]``, ``k in m``, and the methods ``get``, ``pop`` and ``setdefault``."""

    type = MapType.HASH
    _val = "HashVal"

    def pop(self, key: Any, *default: Any) -> Any:
        """Take the value under ``key`` out. In a probe, too: a copy, or None."""
        return self.map.pop(key, *default)

    def setdefault(self, key: Any, default: Any) -> Any:
        """The value under ``key``, after storing ``default`` if there was none. In a probe, too."""
        return self.map.setdefault(key, default)

    def clear(self) -> None:
        """Delete all entries."""
        self.map.clear()

    def drain(self) -> Iterator[tuple[Any, Any]]:
        """Take all entries out: pairs of key and value."""
        found: Iterator[tuple[Any, Any]] = self.map.drain()
        return found


class PinnedHash(Hash):
    """A hash table that others have made and pinned.

    :raises NotFoundError, KernelError, PackError: as :meth:`pybpf.maps.Map.open`.
    """

    def __init__(self, path: str, key: Any, counts: Counts, name: str = "") -> None:
        self._path = path
        with self._open(key_type(key)) as found:
            spec = found.spec
        super().__init__(spec.key, spec.value, spec.max_entries, counts, name, spec.flags)

    def _open(self, key: Any, value: Any = None) -> Map:
        from pybpf.maps import HashMap  # not needed by who makes maps

        return HashMap.open(self._path, key, value)

    def create(self, spec: MapSpec) -> Map:
        return self._open(spec.key, spec.value)


class LruHash(Hash):
    """A hash table that drops what was not used for long when it is full."""

    type = MapType.LRU_HASH


class PerCpuHash(Hash):
    """A hash table with a value per CPU. In a probe it is this CPU's, in Python a list; :meth:`sum` adds up."""

    type = MapType.PERCPU_HASH

    def sum(self, key: Any) -> Any:
        """The sum over all CPUs of what is under ``key``."""
        return self.map.sum(key)


class LruPerCpuHash(PerCpuHash):
    """A hash table with a value per CPU that drops what was not used for long."""

    type = MapType.LRU_PERCPU_HASH


class Lpm(Hash):
    """A trie of prefixes: a lookup finds the longest prefix of the key; see :class:`pybpf.maps.LpmTrie`."""

    type = MapType.LPM_TRIE


class Array(_Keyed):
    """An array, zero at first. In a probe an index outside of it reads 0 (of structs None) and changes nothing."""

    type = MapType.ARRAY
    _val = "ArrayVal"

    def __init__(self, value: Any, length: int, counts: Counts, name: str = "", flags: MapFlags = NO_FLAGS) -> None:
        super().__init__(u32, value, length, counts, name, flags)


class PerCpuArray(Array):
    """An array with a value per CPU. In a probe it is this CPU's, in Python a list; :meth:`sum` adds up."""

    type = MapType.PERCPU_ARRAY

    def sum(self, index: int) -> Any:
        """The sum over all CPUs of an element."""
        return self.map.sum(index)


class Queue(TracerMap):
    """First in, first out. In a probe: ``push`` (what finds no room is counted by ``dropped``), ``pop``, ``peek``."""

    type = MapType.QUEUE
    _val = "QueueVal"

    def __init__(self, value: Any, max_entries: int, counts: Counts, name: str = "") -> None:
        super().__init__(MapSpec(self.type, None, value_type(value), max_entries, name), counts)

    def push(self, value: Any, *, overwrite: bool = False) -> None:
        """Put a value in. In a probe, too."""
        self.map.push(value, overwrite=overwrite)

    def pop(self, *default: Any) -> Any:
        """Take the next value out. In a probe, too: the value or None."""
        return self.map.pop(*default)

    def peek(self, *default: Any) -> Any:
        """The value that :meth:`pop` would take. In a probe, too: the value or None."""
        return self.map.peek(*default)

    def drain(self) -> Iterator[Any]:
        """Take values out until none is left."""
        found: Iterator[Any] = self.map.drain()
        return found


class Stack(Queue):
    """Last in, first out; otherwise as :class:`Queue`."""

    type = MapType.STACK


class Variable(TracerMap):
    """A variable that all probes and Python share: ``x.value``; ``x.value += 1`` is atomic in a probe.

    :param initial: what it is when the tracer is loaded.
    """

    type = MapType.ARRAY
    _val = "VariableVal"

    def __init__(self, kind: Any, counts: Counts, initial: Any = None, name: str = "") -> None:
        super().__init__(MapSpec(self.type, u32, value_type(kind), 1, name), counts)
        if initial is not None:
            layout(self._spec.value).pack(initial)  # what does not fit is refused here
        self._initial = initial

    def bind(self, loaded: Map) -> None:
        super().bind(loaded)
        if self._initial is not None:
            self.value = self._initial

    @property
    def value(self) -> Any:
        """What it is now; before the tracer is loaded, what it will be."""
        return self._initial if self._map is None else self.map[0]

    @value.setter
    def value(self, value: Any) -> None:
        if self._map is None:
            layout(self._spec.value).pack(value)
            self._initial = value
        else:
            self.map[0] = value
