"""The maps and event streams that a tracer makes: a method for each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pybpf.lang import state
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.maps import (
    ENTRIES,
    Array,
    Hash,
    Lpm,
    LruHash,
    LruPerCpuHash,
    PerCpuArray,
    PerCpuHash,
    PinnedHash,
    Queue,
    Stack,
    TracerMap,
    Variable,
)
from pybpf.lang.state.output import PAGES, Events
from pybpf.lang.tracer.counting import MakesAggregates
from pybpf.maps.spec import NO_FLAGS
from pybpf.sys.bpf import MapFlags
from pybpf.types import layout

if TYPE_CHECKING:
    from pybpf.maps import EventReader, MapSpec

__all__ = ["Makes"]

T = TypeVar("T")
P = TypeVar("P")


class Makes(MakesAggregates):
    """What a :class:`~pybpf.Tracer` makes for its probes. All methods share these parameters:

    ``key``, ``value``: types; a key may be a tuple of types. ``max_entries``: how many entries fit. ``name``: what
    other tools show, by default the name of the variable that probes use.
    """

    counts: Counts
    parts: list[Any]

    def _part(self, made: P) -> P:
        self.parts += [made, *getattr(made, "beside", ())]
        return made

    def hash(
        self, key: Any, value: Any, max_entries: int = ENTRIES, *, preallocate: bool = True, name: str = ""
    ) -> Hash:
        """A hash table; what finds it full is counted by its ``dropped``.

        :param preallocate: all its memory at once. Without, each entry takes its own when it is made: for large tables
            that stay empty mostly, and not for probes inside of the kernel's allocators or of interrupts.
        """
        flags = NO_FLAGS if preallocate else MapFlags.NO_PREALLOC
        return self._part(Hash(key, value, max_entries, self.counts, name, flags))

    def pinned_hash(self, path: str, key: Any, *, name: str = "") -> Hash:
        """A hash table that others have made and pinned at ``path``, as ``bpftool map create`` does; it stays theirs.

        Values are of the type that the map has with it, or else bytes.

        :param key: type of its keys.
        :raises NotFoundError: no hash table is pinned there.
        :raises PackError: its keys are of another size.
        :raises PermissionDenied, KernelError: it cannot be opened.
        """
        return self._part(PinnedHash(path, key, self.counts, name))

    def lru_hash(self, key: Any, value: Any, max_entries: int = ENTRIES, *, name: str = "") -> LruHash:
        """A hash table that drops what was not used for long when it is full."""
        return self._part(LruHash(key, value, max_entries, self.counts, name))

    def percpu_hash(self, key: Any, value: Any, max_entries: int = ENTRIES, *, name: str = "") -> PerCpuHash:
        """A hash table with a value per CPU."""
        return self._part(PerCpuHash(key, value, max_entries, self.counts, name))

    def lru_percpu_hash(self, key: Any, value: Any, max_entries: int = ENTRIES, *, name: str = "") -> LruPerCpuHash:
        """A hash table with a value per CPU that drops what was not used for long when it is full."""
        return self._part(LruPerCpuHash(key, value, max_entries, self.counts, name))

    def array(self, value: Any, length: int, *, name: str = "") -> Array:
        """An array, zero at first."""
        return self._part(Array(value, length, self.counts, name))

    def percpu_array(self, value: Any, length: int, *, name: str = "") -> PerCpuArray:
        """An array with a value per CPU."""
        return self._part(PerCpuArray(value, length, self.counts, name))

    def variable(self, kind: Any, initial: Any = None, *, name: str = "") -> Variable:
        """One value that all probes and Python share: ``x.value``."""
        return self._part(Variable(kind, self.counts, initial, name))

    def queue(self, value: Any, max_entries: int = ENTRIES, *, name: str = "") -> Queue:
        """First in, first out."""
        return self._part(Queue(value, max_entries, self.counts, name))

    def stack(self, value: Any, max_entries: int = ENTRIES, *, name: str = "") -> Stack:
        """Last in, first out."""
        return self._part(Stack(value, max_entries, self.counts, name))

    def lpm(self, key: Any, value: Any, max_entries: int = ENTRIES, *, name: str = "") -> Lpm:
        """A trie of prefixes, see :class:`pybpf.maps.Ipv4Prefix` for a type of keys."""
        return self._part(Lpm(key, value, max_entries, self.counts, name))

    def bloom(self, value: Any, max_entries: int, hashes: int = 5, *, name: str = "") -> state.Bloom:
        """A set that may say yes by mistake, never no (Linux 5.16).

        :param max_entries: how many values are expected.
        :param hashes: number of hash functions, 1 to 15.
        """
        return self._part(state.Bloom(value, max_entries, self.counts, hashes, name))

    def task_storage(self, value: Any, *, name: str = "") -> state.TaskStorage:
        """A value per task, a Struct, which goes when the task ends (Linux 5.11)."""
        return self._part(state.TaskStorage(value, self.counts, name))

    def hash_of_maps(
        self, key: Any, inner: TracerMap | MapSpec, max_entries: int = ENTRIES, *, name: str = ""
    ) -> state.HashOfMaps:
        """A hash table of maps, which Python puts in.

        :param inner: what they look like: a map of the tracer, or a specification.
        """
        return self._part(state.HashOfMaps(key, inner, self.counts, max_entries, name))

    def array_of_maps(self, inner: TracerMap | MapSpec, length: int, *, name: str = "") -> state.ArrayOfMaps:
        """An array of maps, which Python puts in; ``inner`` as for :meth:`hash_of_maps`."""
        return self._part(state.ArrayOfMaps(inner, length, self.counts, name))

    def jumps(self, length: int, *, name: str = "") -> state.Jumps:
        """Programs to jump to, which Python puts in."""
        return self._part(state.Jumps(length, self.counts, name))

    def perf_counter(self, event: str, *, name: str = "") -> state.PerfCounter:
        """How often a perf event has happened on a CPU since the tracer was attached: ``c.read()`` in a probe.

        :param event: of the kernel (``"page-faults"``) or the processor (``"cpu-cycles"``).
        """
        return self._part(state.PerfCounter(event, self.counts, name))

    def events(self, kind: type[T], *, pages: int = PAGES, name: str = "") -> Events[T]:
        """A stream of events, each a ``kind``, a Struct: a ring buffer, or a perf buffer on kernels before 5.8.

        :param pages: 4 KiB pages of the buffer.
        """
        layout(kind)  # which Struct itself has not
        made = self._part(Events(kind, self.counts, pages, name))
        made.through, made.through_async = self._deliver_beside, self._deliver_beside_async
        return made

    def _deliver_beside(self, reader: EventReader[T]) -> Iterator[T]:
        """The events of a reader as they come, while everything else of the tracer is delivered too."""
        raise NotImplementedError

    def _deliver_beside_async(self, reader: EventReader[T]) -> AsyncIterator[T]:
        """The same for ``async for``."""
        raise NotImplementedError
