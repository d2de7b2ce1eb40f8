"""BPF maps: one class per map type, used like Python's own containers, with typed keys and values.

>>> from pybpf.maps import HashMap
>>> from pybpf.types import u32, u64
>>> with HashMap(u32, u64, max_entries=1024, name="counts") as counts:  # doctest: +SKIP
...     counts[1] = 5
...     dict(counts.items())
{1: 5}
"""

from pybpf.maps.array import Array
from pybpf.maps.base import Map
from pybpf.maps.hash import HashMap, LruHash
from pybpf.maps.percpu import LruPerCpuHash, PerCpuArray, PerCpuHash
from pybpf.maps.spec import MapSpec

__all__ = ["Array", "HashMap", "LruHash", "LruPerCpuHash", "Map", "MapSpec", "PerCpuArray", "PerCpuHash"]
