"""TASK_STORAGE, INODE_STORAGE and CGRP_STORAGE: values that live and die with a task, inode or cgroup."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, ClassVar

from pybpf.maps.codec import Codec, FdCodec
from pybpf.maps.elements import KeyedMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.types import s32

__all__ = ["CgroupStorage", "InodeStorage", "TaskStorage"]


class _Storage(KeyedMap):
    """One value per owner. Keys are descriptors of the owner, or objects that have one; there is no iteration.

    The kernel wants type information for these maps.

    :param value: type of the values.
    """

    def __init__(self, value: Any, *, name: str = "", flags: MapFlags = NO_FLAGS) -> None:
        self._create(MapSpec(self.map_type, s32, value, 0, name, flags))

    @classmethod
    def _default_types(cls, key_size: int, value_size: int, flags: MapFlags) -> tuple[Any, Any]:
        return s32, super()._default_types(key_size, value_size, flags)[1]

    def _key_codec(self) -> Codec:
        return FdCodec()


class TaskStorage(_Storage):
    """A value per task (Linux 5.11): ``m[os.pidfd_open(pid)]``. A pidfd stands for the task that leads the process."""

    map_type: ClassVar[MapType] = MapType.TASK_STORAGE


class InodeStorage(_Storage):
    """A value per inode, by a descriptor of the file (Linux 5.10, with CONFIG_BPF_LSM)."""

    map_type: ClassVar[MapType] = MapType.INODE_STORAGE

    #: Linux 5.10: inodes have room for values only while the BPF LSM runs.
    _causes: ClassVar[Mapping[int, tuple[str, str]]] = {
        errno.EBADF: (
            "the descriptor is not open, or the kernel does not run the BPF LSM",
            "boot the kernel with bpf in its lsm= parameter",
        )
    }


class CgroupStorage(_Storage):
    """A value per cgroup (version 2), by a descriptor of its directory (Linux 6.2)."""

    map_type: ClassVar[MapType] = MapType.CGRP_STORAGE
