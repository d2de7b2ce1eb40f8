"""RINGBUF: the ring buffer as a map, which programs write to; see RingBufferReader for reading it."""

from __future__ import annotations

from typing import ClassVar

from pybpf.maps.base import Map
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType

__all__ = ["RingBuffer"]


class RingBuffer(Map):
    """A ring buffer that programs on all CPUs share (Linux 5.8).

    :param size: bytes, a power of two and at least a page; each event takes 8 more than its size, rounded up to 8.
    """

    map_type: ClassVar[MapType] = MapType.RINGBUF

    def __init__(self, size: int, *, name: str = "", flags: MapFlags = NO_FLAGS, numa_node: int | None = None) -> None:
        self._create(MapSpec(self.map_type, max_entries=size, name=name, flags=flags, numa_node=numa_node))
