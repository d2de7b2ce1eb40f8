"""ARRAY_OF_MAPS and HASH_OF_MAPS: maps whose values are maps."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, ClassVar

from pybpf.maps.array import Indexed
from pybpf.maps.base import Map
from pybpf.maps.codec import Codec, FdCodec
from pybpf.maps.hash import DEFAULT_ENTRIES
from pybpf.maps.mapping import DictMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.types import u32

__all__ = ["ArrayOfMaps", "HashOfMaps"]


class _Outer(DictMap):
    """What maps of maps share: maps go in, ids come out.

    Storing a map keeps its kernel object alive as long as it is in there; the Python object may be closed. Reading
    (``m[k]``, ``items()``, ...) gives the ids of the inner maps, as the kernel does; :meth:`inner` opens one.
    """

    _causes: ClassVar[Mapping[int, tuple[str, str]]] = {
        errno.EINVAL: (
            "what is stored is no map, or its type, flags, or sizes of keys and values (of arrays also max_entries) "
            "are not those that inner maps were declared to have",
            "create it from the map's spec.inner",
        ),
        errno.EBADF: ("what is stored is no open descriptor", "store maps"),
    }

    def _value_codec(self) -> Codec:
        return FdCodec()

    def inner(self, key: Any) -> Map:
        """The map under ``key``: a new object, to be closed by the caller. Needs CAP_SYS_ADMIN.

        :raises KeyError: there is none.
        """
        spec = self.spec.inner
        return Map.from_id(self[key], *((spec.key, spec.value) if spec else ()))


class HashOfMaps(_Outer):
    """A hash table of maps.

    :param key: type of the keys.
    :param inner: what all inner maps look like: a specification, or such a map.
    :param max_entries: how many maps fit.
    """

    map_type: ClassVar[MapType] = MapType.HASH_OF_MAPS

    def __init__(
        self,
        key: Any,
        inner: MapSpec | Map,
        max_entries: int = DEFAULT_ENTRIES,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        shape = inner.spec if isinstance(inner, Map) else inner
        self._create(MapSpec(self.map_type, key, u32, max_entries, name, flags, inner=shape, numa_node=numa_node))


class ArrayOfMaps(Indexed, _Outer):
    """An array of maps; slots start empty, reading one raises ``KeyError``.

    :param inner: what all inner maps look like: a specification, or such a map.
    :param max_entries: how many slots there are.
    """

    map_type: ClassVar[MapType] = MapType.ARRAY_OF_MAPS

    def __init__(
        self,
        inner: MapSpec | Map,
        max_entries: int,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        shape = inner.spec if isinstance(inner, Map) else inner
        self._create(MapSpec(self.map_type, u32, u32, max_entries, name, flags, inner=shape, numa_node=numa_node))
