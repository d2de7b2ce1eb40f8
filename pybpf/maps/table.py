"""Which class stands for which map type."""

from __future__ import annotations

from pybpf.maps.array import Array
from pybpf.maps.base import Map
from pybpf.maps.hash import HashMap, LruHash
from pybpf.maps.percpu import LruPerCpuHash, PerCpuArray, PerCpuHash
from pybpf.sys.bpf import MapType

__all__ = ["CLASSES", "map_class"]

_CLASSES: tuple[type[Map], ...] = (Array, HashMap, LruHash, LruPerCpuHash, PerCpuArray, PerCpuHash)

#: map type -> class
CLASSES: dict[MapType, type[Map]] = {found.map_type: found for found in _CLASSES}


def map_class(kind: MapType) -> type[Map]:
    """The class of the maps of a type; plain :class:`Map` for types that have no use in tracing."""
    return CLASSES.get(kind, Map)
