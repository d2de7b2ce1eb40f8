"""What a map is, as pure data: made without a kernel, for this host or another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pybpf.errors import PackError
from pybpf.lazy import regex
from pybpf.record import dataclass
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.types import layout, sizeof

if TYPE_CHECKING:
    from pybpf.maps.base import Map

__all__ = ["NAME_SIZE", "NO_FLAGS", "MapSpec"]

#: bytes of a name that the kernel keeps, BPF_OBJ_NAME_LEN - 1
NAME_SIZE = 15
NO_FLAGS = MapFlags(0)
_NAME = regex(r"[A-Za-z0-9_.]*", re.ASCII)

#: what the kernel insists on, and so :class:`MapSpec` adds
_NEEDED_FLAGS = dict.fromkeys(
    (MapType.LPM_TRIE, MapType.TASK_STORAGE, MapType.INODE_STORAGE, MapType.CGRP_STORAGE), MapFlags.NO_PREALLOC
)


@dataclass(frozen=True)
class MapSpec:
    """A map that could be created: everything ``BPF_MAP_CREATE`` is told.

    :param type: the kernel's map type.
    :param key: type of the keys (of :mod:`pybpf.types`); ``None`` for map types without keys.
    :param value: type of the values, for per-CPU maps that of one CPU; ``None`` for map types without values.
    :param max_entries: how many entries fit; 0 where the kernel or the map's class knows the number.
    :param name: letters, digits, ``_`` and ``.``. Error messages use all of it; the kernel, and so
        ``bpftool map``, keeps the first 15 characters, as with every BPF loader.
    :param flags: tries and storages get ``NO_PREALLOC``, without which there are none.
    :param inner: for maps of maps: what the inner maps are.
    :param extra: ``map_extra``: number of hash functions of a bloom filter.
    :param typed: whether the kernel is told the types of keys and values, for people who look at the map with other
        tools: it takes half of the time that a map takes.
    :param numa_node: where to allocate; ``None``: anywhere.
    :raises PackError: a name or number that the kernel cannot take.
    :raises TypeError: ``key`` or ``value`` is not a type of :mod:`pybpf.types`.
    """

    type: MapType
    key: Any = None
    value: Any = None
    max_entries: int = 0
    name: str = ""
    flags: MapFlags = NO_FLAGS
    inner: MapSpec | None = None
    extra: int = 0
    numa_node: int | None = None
    typed: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise PackError(f"map name {self.name!r}: a name has only letters, digits, '_' and '.'")
        if not isinstance(self.max_entries, int) or not 0 <= self.max_entries < 1 << 32:
            raise PackError(f"{self}: max_entries is 0 to {(1 << 32) - 1}, not {self.max_entries!r}")
        object.__setattr__(self, "flags", MapFlags(self.flags) | _NEEDED_FLAGS.get(self.type, NO_FLAGS))
        for kind in (self.key, self.value):
            if kind is not None:
                layout(kind)

    @property
    def key_size(self) -> int:
        """Bytes of a key; 0 without keys."""
        return 0 if self.key is None else sizeof(self.key)

    @property
    def value_size(self) -> int:
        """Bytes of a value (of one CPU); 0 without values."""
        return 0 if self.value is None else sizeof(self.value)

    def create(self) -> Map:
        """Make the kernel object: an instance of the class of :attr:`type`.

        :raises KernelError: the kernel refuses.
        """
        from pybpf.maps.table import map_class  # the table imports every class, and they import this file

        return map_class(self.type).from_spec(self)

    def __str__(self) -> str:
        kind = f"{self.type.name.lower()} map"
        return f"{kind} '{self.name}'" if self.name else kind
