"""Arrays: ARRAY, with elements 0 to max_entries - 1 that are always there."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pybpf.errors import KernelError
from pybpf.maps.elements import KeyedMap
from pybpf.maps.mapping import DictMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.sys.explain import explaining
from pybpf.types import layout, u32
from pybpf.types.layout import IntLayout

__all__ = ["Array", "Indexed", "IndexedMap"]


class Indexed(KeyedMap):
    """A map whose keys are 0 to ``max_entries - 1``.

    :raises IndexError: (by storing) there is no such slot.
    """

    @classmethod
    def _default_types(cls, key_size: int, value_size: int, flags: MapFlags) -> tuple[Any, Any]:
        return u32, super()._default_types(key_size, value_size, flags)[1]

    def _failed(self, action: str, number: int) -> Exception:
        if number == errno.E2BIG:
            return IndexError(f"cannot {action} {self.spec}: it has elements 0 to {self.max_entries - 1}")
        return super()._failed(action, number)


class IndexedMap(Indexed, DictMap):
    """A map used like a dict whose keys are all there, always.

    Elements start as zero and cannot be deleted: :meth:`clear` zeroes them.

    :param value: type of the elements.
    :param max_entries: how many there are.
    :param name: see :class:`MapSpec`.
    :param flags: for example ``MapFlags.RDONLY_PROG`` for constants.
    :param numa_node: where to allocate.
    :raises IndexError: (by everything that takes an index) there is no such element.
    """

    def __init__(
        self,
        value: Any,
        max_entries: int = 1,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        self._create(MapSpec(self.map_type, u32, value, max_entries, name, flags, numa_node=numa_node))

    def keys(self) -> Iterator[int]:
        return iter(range(self.max_entries))

    def __len__(self) -> int:
        return self.max_entries

    def __bool__(self) -> bool:
        return True

    def clear(self) -> None:
        """Set all elements to zero."""
        zero = self._values.unpack(bytes(self._values.size))
        self.update((index, zero) for index in range(self.max_entries))

    def _no_element(self, key: Any) -> Exception:
        return IndexError(f"{self.spec} has elements 0 to {self.max_entries - 1}, not {key!r}")

    _causes: ClassVar[Mapping[int, tuple[str, str]]] = {
        errno.EINVAL: ("its elements are always there", "store zero instead")
    }


class Array(IndexedMap):
    """An array; parameters as for :class:`IndexedMap`. ``MapFlags.MMAPABLE`` is for :meth:`view`."""

    map_type: ClassVar[MapType] = MapType.ARRAY

    @property
    def stride(self) -> int:
        """Bytes from one element to the next in :meth:`view`: the value's size, rounded up to 8."""
        return self._values.size + -self._values.size % 8

    def view(self, *, writable: bool = True) -> memoryview:
        """The elements themselves, shared with the programs that run: no system call per access.

        For integers an indexable view of the elements, read and written whole; else the raw bytes, with element
        ``i`` at ``i * stride``. It stays valid, also after :meth:`close`, until it is released or collected.

        :raises KernelError: the map was created without ``MMAPABLE`` (Linux 5.5), or is frozen and ``writable``.
        """
        action = f"map {self.spec} into memory"
        if not self.spec.flags & MapFlags.MMAPABLE:
            advice = "create it with flags=MapFlags.MMAPABLE (Linux 5.5)"
            raise KernelError(action, errno.EINVAL, "it was created without MMAPABLE", advice)
        size = self.stride * self.max_entries
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        with explaining(action, "mmap"):
            mapping = mmap.mmap(self.fileno(), size, mmap.MAP_SHARED, protection)
        kind, whole = layout(self.value_type), memoryview(mapping)
        if isinstance(kind, IntLayout):
            return whole.cast(kind.codes)[:: self.stride // kind.size]  # type: ignore[call-overload, no-any-return]
        return whole
