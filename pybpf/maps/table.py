"""Which class stands for which map type; imported when a map of that type is first made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from pybpf.sys.bpf import MapType

if TYPE_CHECKING:
    from pybpf.maps.base import Map

__all__ = ["CLASSES", "map_class"]

#: map type -> file of this package and class
_HOMES = {
    MapType.ARRAY: "array.Array",
    MapType.ARRAY_OF_MAPS: "nested.ArrayOfMaps",
    MapType.BLOOM_FILTER: "bloom.BloomFilter",
    MapType.CGROUP_ARRAY: "slots.CgroupArray",
    MapType.CGRP_STORAGE: "storage.CgroupStorage",
    MapType.HASH: "hash.HashMap",
    MapType.HASH_OF_MAPS: "nested.HashOfMaps",
    MapType.INODE_STORAGE: "storage.InodeStorage",
    MapType.LPM_TRIE: "lpm.LpmTrie",
    MapType.LRU_HASH: "hash.LruHash",
    MapType.LRU_PERCPU_HASH: "percpu.LruPerCpuHash",
    MapType.PERCPU_ARRAY: "percpu.PerCpuArray",
    MapType.PERCPU_HASH: "percpu.PerCpuHash",
    MapType.PERF_EVENT_ARRAY: "slots.PerfEventArray",
    MapType.PROG_ARRAY: "slots.ProgArray",
    MapType.QUEUE: "queue.Queue",
    MapType.RINGBUF: "ringmap.RingBuffer",
    MapType.STACK: "queue.Stack",
    MapType.STACK_TRACE: "stacktrace.StackTrace",
    MapType.TASK_STORAGE: "storage.TaskStorage",
    MapType.USER_RINGBUF: "userring.UserRingBuffer",
}


class _Classes(Mapping[MapType, "type[Map]"]):
    """The table as a mapping to classes."""

    def __getitem__(self, kind: MapType) -> type[Map]:
        file, _, name = _HOMES[kind].partition(".")
        found: type[Map] = getattr(import_module(f"pybpf.maps.{file}"), name)
        return found

    def __iter__(self) -> Iterator[MapType]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


#: map type -> class
CLASSES: Mapping[MapType, type[Map]] = _Classes()


def map_class(kind: MapType) -> type[Map]:
    """The class of the maps of a type; plain :class:`Map` for types that have no use in tracing."""
    from pybpf.maps.base import Map

    return CLASSES.get(kind, Map)
