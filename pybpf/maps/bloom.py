"""BLOOM_FILTER: a set that may say yes by mistake, never no."""

from __future__ import annotations

from typing import Any, ClassVar

from pybpf.maps.elements import ElementMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType

__all__ = ["BloomFilter"]


class BloomFilter(ElementMap):
    """A set to which values are added and never removed (Linux 5.16).

    ``value in filter`` is always true for values that were added, and for a few others.

    :param value: type of the values.
    :param max_entries: how many values are expected; more only make mistakes likelier.
    :param hashes: number of hash functions, 1 to 15.
    """

    map_type: ClassVar[MapType] = MapType.BLOOM_FILTER

    def __init__(
        self,
        value: Any,
        max_entries: int,
        hashes: int = 5,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        self._create(MapSpec(self.map_type, None, value, max_entries, name, flags, extra=hashes, numa_node=numa_node))

    def add(self, value: Any) -> None:
        """Add a value. :raises PackError: it does not fit the type."""
        result = self._store(None, value)
        if result < 0:
            raise self._failed(f"add {value!r} to", -result)

    def __contains__(self, value: Any) -> bool:
        scratch = self._scratch()
        try:
            # A lookup reads the value here instead of writing it.
            self._values.pack_into(scratch.value, value)
            return self._fetch(scratch, value)
        finally:
            self._free.append(scratch)
