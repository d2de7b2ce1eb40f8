"""Arrays whose elements are kernel objects: programs to jump to, perf events to write to, cgroups to compare with."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import ClassVar

from pybpf.maps.array import Indexed
from pybpf.maps.codec import Codec, FdCodec
from pybpf.maps.elements import KeyedMap
from pybpf.maps.mapping import DictMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.record import replace
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.sys.cpus import nr_cpu_ids
from pybpf.types import u32

__all__ = ["CgroupArray", "PerfEventArray", "ProgArray"]


class _Slots(Indexed, KeyedMap):
    """What is stored is a descriptor, or an object that has one; it may be closed afterwards. Slots start empty.

    :param max_entries: how many slots there are.
    """

    def __init__(self, max_entries: int, *, name: str = "", flags: MapFlags = NO_FLAGS) -> None:
        self._create(MapSpec(self.map_type, u32, u32, max_entries, name, flags))

    def _value_codec(self) -> Codec:
        return FdCodec()


class ProgArray(_Slots, DictMap):
    """Programs for ``bpf_tail_call``: ``m[i] = program``. Reading gives the ids of the programs (Linux 4.20).

    When no process and no pin holds the map any more, its slots are emptied, even if programs still hold it.
    """

    map_type: ClassVar[MapType] = MapType.PROG_ARRAY
    _causes: ClassVar[Mapping[int, tuple[str, str]]] = {
        errno.EINVAL: (
            "what is stored is no program, or one that differs from the others of this map, or its users, in type or "
            "attachment",
            "store loaded programs of one type",
        ),
        errno.EBADF: ("what is stored is no open descriptor", "store loaded programs of one type"),
    }


class PerfEventArray(_Slots):
    """Perf events, one slot per CPU, for ``bpf_perf_event_output`` and ``bpf_perf_event_read``. Cannot be read.

    A slot is emptied when the map object through which it was filled is closed, unless the map was created with
    ``MapFlags.PRESERVE_ELEMS`` (Linux 5.10).

    :param max_entries: how many slots there are; 0: one for each number that a CPU can have.
    """

    map_type: ClassVar[MapType] = MapType.PERF_EVENT_ARRAY

    def __init__(self, max_entries: int = 0, *, name: str = "", flags: MapFlags = NO_FLAGS) -> None:
        super().__init__(max_entries, name=name, flags=flags)

    def _create(self, spec: MapSpec) -> None:
        super()._create(spec if spec.max_entries else replace(spec, max_entries=nr_cpu_ids()))


class CgroupArray(_Slots):
    """Cgroups (version 2), for ``bpf_current_task_under_cgroup``: ``m[i] = file`` of the directory. Cannot be read."""

    map_type: ClassVar[MapType] = MapType.CGROUP_ARRAY
