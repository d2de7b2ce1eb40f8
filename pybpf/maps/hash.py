"""Hash tables: HASH and LRU_HASH."""

from __future__ import annotations

from typing import Any, ClassVar

from pybpf.maps.mapping import DictMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType

__all__ = ["DEFAULT_ENTRIES", "HashMap", "HashTable", "LruHash"]

#: max_entries of a hash table that is created without
DEFAULT_ENTRIES = 10240


class HashTable(DictMap):
    """What the hash tables share.

    :param key: type of the keys; padding inside a key counts when keys are compared, and is zero in Python's.
    :param value: type of the values.
    :param max_entries: how many elements fit; one more is refused with ``E2BIG``.
    :param name: see :class:`MapSpec`.
    :param flags: for example ``MapFlags.NO_PREALLOC``: take memory when elements come, not at once. Unsafe in
        programs that can interrupt the allocator (kprobes, perf events) before Linux 6.1.
    :param numa_node: where to allocate.
    """

    def __init__(
        self,
        key: Any,
        value: Any,
        max_entries: int = DEFAULT_ENTRIES,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        self._create(MapSpec(self.map_type, key, value, max_entries, name, flags, numa_node=numa_node))


class HashMap(HashTable):
    """A hash table; parameters as for :class:`HashTable`."""

    map_type: ClassVar[MapType] = MapType.HASH
    _when_full = "raise max_entries, or use LruHash, which drops the oldest elements"


class LruHash(HashMap):
    """A hash table that makes room by dropping elements that were not used for long.

    It may drop some before it is full: the kernel keeps free elements per CPU.
    """

    map_type: ClassVar[MapType] = MapType.LRU_HASH
