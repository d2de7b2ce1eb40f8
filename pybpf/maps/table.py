"""Which class stands for which map type."""

from __future__ import annotations

from pybpf.maps.array import Array
from pybpf.maps.base import Map
from pybpf.maps.bloom import BloomFilter
from pybpf.maps.hash import HashMap, LruHash
from pybpf.maps.lpm import LpmTrie
from pybpf.maps.nested import ArrayOfMaps, HashOfMaps
from pybpf.maps.percpu import LruPerCpuHash, PerCpuArray, PerCpuHash
from pybpf.maps.queue import Queue, Stack
from pybpf.maps.ringmap import RingBuffer
from pybpf.maps.slots import CgroupArray, PerfEventArray, ProgArray
from pybpf.maps.stacktrace import StackTrace
from pybpf.maps.storage import CgroupStorage, InodeStorage, TaskStorage
from pybpf.maps.userring import UserRingBuffer
from pybpf.sys.bpf import MapType

__all__ = ["CLASSES", "map_class"]

_CLASSES: tuple[type[Map], ...] = (
    Array,
    ArrayOfMaps,
    BloomFilter,
    CgroupArray,
    CgroupStorage,
    HashMap,
    HashOfMaps,
    InodeStorage,
    LpmTrie,
    LruHash,
    LruPerCpuHash,
    PerCpuArray,
    PerCpuHash,
    PerfEventArray,
    ProgArray,
    Queue,
    RingBuffer,
    Stack,
    StackTrace,
    TaskStorage,
    UserRingBuffer,
)

#: map type -> class
CLASSES: dict[MapType, type[Map]] = {found.map_type: found for found in _CLASSES}


def map_class(kind: MapType) -> type[Map]:
    """The class of the maps of a type; plain :class:`Map` for types that have no use in tracing."""
    return CLASSES.get(kind, Map)
