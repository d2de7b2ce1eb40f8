"""BPF maps: one class per map type, used like Python's own containers, with typed keys and values.

>>> from pybpf.maps import HashMap
>>> from pybpf.types import u32, u64
>>> with HashMap(u32, u64, max_entries=1024, name="counts") as counts:  # doctest: +SKIP
...     counts[1] = 5
...     dict(counts.items())
{1: 5}
"""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.maps.array import Array
    from pybpf.maps.base import Map
    from pybpf.maps.bloom import BloomFilter
    from pybpf.maps.events import EventReader
    from pybpf.maps.hash import HashMap, LruHash
    from pybpf.maps.lpm import Ipv4Prefix, Ipv6Prefix, LpmTrie
    from pybpf.maps.nested import ArrayOfMaps, HashOfMaps
    from pybpf.maps.percpu import LruPerCpuHash, PerCpuArray, PerCpuHash
    from pybpf.maps.perfbuf import PerfBufferReader
    from pybpf.maps.queue import Queue, Stack
    from pybpf.maps.ringbuf import RingBufferReader
    from pybpf.maps.ringmap import RingBuffer
    from pybpf.maps.slots import CgroupArray, PerfEventArray, ProgArray
    from pybpf.maps.spec import MapSpec
    from pybpf.maps.stacktrace import StackBuildId, StackTrace
    from pybpf.maps.storage import CgroupStorage, InodeStorage, TaskStorage
    from pybpf.maps.table import CLASSES
    from pybpf.maps.userring import UserRingBuffer

__all__ = [
    "CLASSES",
    "Array",
    "ArrayOfMaps",
    "BloomFilter",
    "CgroupArray",
    "CgroupStorage",
    "EventReader",
    "HashMap",
    "HashOfMaps",
    "InodeStorage",
    "Ipv4Prefix",
    "Ipv6Prefix",
    "LpmTrie",
    "LruHash",
    "LruPerCpuHash",
    "Map",
    "MapSpec",
    "PerCpuArray",
    "PerCpuHash",
    "PerfBufferReader",
    "PerfEventArray",
    "ProgArray",
    "Queue",
    "RingBuffer",
    "RingBufferReader",
    "Stack",
    "StackBuildId",
    "StackTrace",
    "TaskStorage",
    "UserRingBuffer",
]

__getattr__ = lazy_names(
    __name__,
    {
        "array": "Array",
        "base": "Map",
        "bloom": "BloomFilter",
        "events": "EventReader",
        "hash": "HashMap LruHash",
        "lpm": "Ipv4Prefix Ipv6Prefix LpmTrie",
        "nested": "ArrayOfMaps HashOfMaps",
        "percpu": "LruPerCpuHash PerCpuArray PerCpuHash",
        "perfbuf": "PerfBufferReader",
        "queue": "Queue Stack",
        "ringbuf": "RingBufferReader",
        "ringmap": "RingBuffer",
        "slots": "CgroupArray PerfEventArray ProgArray",
        "spec": "MapSpec",
        "stacktrace": "StackBuildId StackTrace",
        "storage": "CgroupStorage InodeStorage TaskStorage",
        "table": "CLASSES",
        "userring": "UserRingBuffer",
    },
)
