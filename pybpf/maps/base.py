"""What every map is: an owned kernel object with an id, a name, types, and a place to be pinned."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from pybpf.errors import KernelError, PackError
from pybpf.maps.create import create
from pybpf.maps.spec import MapSpec
from pybpf.sys.bpf import Cmd, MapFlags, MapType, bpf
from pybpf.sys.explain import explain, explaining
from pybpf.sys.fd import Fd
from pybpf.sys.objects import Kind, MapInfo, map_info, open_id
from pybpf.sys.pin import Path, open_pinned, pin
from pybpf.types import array_of, u8

__all__ = ["Map"]

M = TypeVar("M", bound="Map")


def _mode_flags(mode: str) -> int:
    """:raises PackError: there is no such mode."""
    flags = {"rw": 0, "r": MapFlags.RDONLY, "w": MapFlags.WRONLY}.get(mode)
    if flags is None:
        raise PackError(f"a map is opened with mode 'rw', 'r' or 'w', not {mode!r:.20}")
    return int(flags)


class Map:
    """A BPF map. Each map type is a subclass whose constructor creates the kernel object.

    A map belongs to the object: it is freed when the object is closed, unless it is pinned or a program holds it.
    Maps may be used by several threads at once; only :meth:`close` needs that the others are done.

    :ivar spec: what the map was created from (for opened maps: what the kernel tells).
    :ivar fd: the owned descriptor.
    :raises ClosedError: (by everything but :meth:`close`) after :meth:`close`.
    """

    #: the kernel's type of the maps of this class
    map_type: ClassVar[MapType]
    #: advice when an element does not fit
    _when_full: ClassVar[str] = "raise max_entries"
    #: errno of an operation on an element -> what it means for maps of this class, and advice
    _causes: ClassVar[Mapping[int, tuple[str, str]]] = {}
    spec: MapSpec
    fd: Fd

    @classmethod
    def from_spec(cls: type[M], spec: MapSpec) -> M:
        """Create the map that ``spec`` describes; :meth:`MapSpec.create` finds the class.

        :raises KernelError: the kernel refuses, with the cause.
        """
        made = cls.__new__(cls)
        made._create(spec)
        return made

    @classmethod
    def from_fd(cls: type[M], fd: Fd, key_type: Any = None, value_type: Any = None) -> M:
        """The map behind a descriptor, which the new object then owns.

        :param key_type: type of the keys; by default what the map's BTF says, else bytes (``u8[N]``).
        :param value_type: likewise for values.
        :raises NotFoundError: it is a map of another type than this class; ``Map.from_fd`` takes all.
        :raises PackError: a type's size is not that of the map.
        """
        from pybpf.maps.opening import opened  # not needed by who creates maps

        return opened(cls, fd, key_type, value_type)

    @classmethod
    def from_id(cls: type[M], number: int, key_type: Any = None, value_type: Any = None, *, mode: str = "rw") -> M:
        """The map with this id in the kernel; types as in :meth:`from_fd`, ``mode`` as in :meth:`open`. Needs
        CAP_SYS_ADMIN.

        :raises NotFoundError: there is no such map.
        """
        return cls.from_fd(open_id(Kind.MAP, number, _mode_flags(mode)), key_type, value_type)

    @classmethod
    def open(cls: type[M], path: Path, key_type: Any = None, value_type: Any = None, *, mode: str = "rw") -> M:
        """The map that is pinned at ``path``; types as in :meth:`from_fd`.

        :param mode: what this object may do with elements: ``"rw"``, ``"r"`` or ``"w"``. Of the pin that permission is
            needed only.
        :raises NotFoundError: nothing is pinned there, or a map of another type than this class.
        :raises KernelError: something else than a map is pinned there.
        """
        return cls.from_fd(open_pinned(path, "map", _mode_flags(mode)), key_type, value_type)

    def _create(self, spec: MapSpec) -> None:
        fd = create(spec)
        try:
            self._adopt(spec, fd)
        except BaseException:
            fd.close()
            raise

    def _adopt(self, spec: MapSpec, fd: Fd) -> None:
        """Become the map behind ``fd``; subclasses prepare what they need."""
        self.spec = spec
        self.fd = fd

    @classmethod
    def _default_types(cls, key_size: int, value_size: int, flags: MapFlags) -> tuple[Any, Any]:
        """Types of the keys and values of a map of this class of which only the sizes are known: bytes."""
        return (array_of(u8, key_size) if key_size else None), (array_of(u8, value_size) if value_size else None)

    @property
    def key_type(self) -> Any:
        """Type of the keys, ``None`` for maps without keys."""
        return self.spec.key

    @property
    def value_type(self) -> Any:
        """Type of the values (of one CPU in per-CPU maps), ``None`` for maps without values."""
        return self.spec.value

    @property
    def max_entries(self) -> int:
        """How many entries fit; for ring buffers their size in bytes."""
        return self.spec.max_entries

    @property
    def name(self) -> str:
        """The whole name; the kernel keeps its first 15 characters."""
        return self.spec.name

    @property
    def flags(self) -> MapFlags:
        """The flags that the map was created with."""
        return self.spec.flags

    @cached_property
    def id(self) -> int:
        """The map's id in the kernel, as in ``bpftool map``."""
        return self.info().id

    def info(self) -> MapInfo:
        """What the kernel tells of the map."""
        return map_info(self.fd)

    def fileno(self) -> int:
        """The descriptor's number."""
        return self.fd.fileno()

    def pin(self, path: Path) -> None:
        """Keep the map alive under ``path`` in a bpf file system, until :func:`pybpf.sys.pin.unpin`.

        :raises NotFoundError: the directory does not exist.
        :raises KernelError: the name is taken, or is in no bpf file system.
        """
        pin(self.fd, path)

    def freeze(self) -> None:
        """Forbid further changes through bpf(2); programs still write, unless the map has RDONLY_PROG.

        :raises KernelError: the map is mapped writable (EBUSY), or the kernel is older than 5.2.
        """
        with explaining(f"freeze {self.spec}", "map_elem"):
            bpf(Cmd.MAP_FREEZE, map_fd=self.fileno())

    def close(self) -> None:
        """Give the map up; a second call does nothing."""
        self.fd.close()

    def __enter__(self: M) -> M:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        types = "".join(f", {part.__name__}" for part in (self.key_type, self.value_type) if part is not None)
        return f"<{self.spec}{types}, {self.fd!r}>"

    def _failed(self, action: str, number: int) -> Exception:
        """The exception for errno ``number`` of an operation on an element; ``action`` completes "cannot ..."."""
        action = f"{action} {self.spec}"
        if number == errno.E2BIG:
            return KernelError(action, number, f"the map is full (max_entries {self.max_entries})", self._when_full)
        if number in self._causes:
            return KernelError(action, number, *self._causes[number])
        return explain(action, OSError(number, os.strerror(number)), "map_elem")
