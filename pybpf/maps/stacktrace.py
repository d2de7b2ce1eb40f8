"""STACK_TRACE: stacks that programs collected, by the id that the helper gave them."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pybpf.maps.codec import Codec
from pybpf.maps.hash import DEFAULT_ENTRIES
from pybpf.maps.mapping import DictMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.types import Layout, Struct, array_of, layout, s32, u8, u32, u64
from pybpf.types.layout import TupleLayout

__all__ = ["StackBuildId", "StackTrace"]


class StackBuildId(Struct):
    """``struct bpf_stack_build_id``: a user-space frame of a map with ``MapFlags.STACK_BUILD_ID``."""

    status: s32  #: 1: build_id and offset are valid; 2: offset is an address instead
    build_id: u8[20]  # type: ignore[type-arg,valid-type]  #: of the ELF file
    offset: u64  #: in that file


class _FramesCodec(Codec):
    """A tuple of frames, innermost first, without the empty ones behind them."""

    def __init__(self, kind: TupleLayout) -> None:
        self.size = kind.size
        self._layout: Layout[tuple[Any, ...]] = kind
        self._empty = kind.element.unpack(bytes(kind.element.size))

    def pack_into(self, buffer: bytearray, value: Any) -> None:
        self._layout.code.pack_into(buffer, 0, *self._layout.to_items(value))

    def unpack(self, buffer: Any) -> tuple[Any, ...]:
        return self._cut(self._layout.unpack(buffer))

    def unpack_run(self, buffer: Any) -> Iterator[tuple[Any, ...]]:
        return map(self._cut, self._layout.iter_unpack(buffer))

    def _cut(self, frames: tuple[Any, ...]) -> tuple[Any, ...]:
        return frames[: frames.index(self._empty)] if self._empty in frames else frames


class StackTrace(DictMap):
    """Stacks that ``bpf_get_stackid`` collected. ``m[id]`` is a tuple of addresses, innermost first.

    Only programs put stacks in. ``pop`` and ``del`` make room for others.

    :param depth: how many frames of a stack are kept, at most ``/proc/sys/kernel/perf_event_max_stack`` (127).
    :param max_entries: how many stacks fit; the kernel rounds up to a power of two.
    :param flags: ``MapFlags.STACK_BUILD_ID`` makes frames :class:`StackBuildId` instead of addresses.
    """

    map_type: ClassVar[MapType] = MapType.STACK_TRACE
    _causes: ClassVar[Mapping[int, tuple[str, str]]] = {
        errno.EINVAL: ("only programs put stacks into it, by bpf_get_stackid", "take stacks out by pop and del")
    }

    def __init__(
        self,
        depth: int = 127,
        max_entries: int = DEFAULT_ENTRIES,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        frame = StackBuildId if flags & MapFlags.STACK_BUILD_ID else u64
        value = array_of(frame, depth)
        self._create(MapSpec(self.map_type, u32, value, max_entries, name, flags, numa_node=numa_node))

    @classmethod
    def _default_types(cls, key_size: int, value_size: int, flags: MapFlags) -> tuple[Any, Any]:
        frame, size = (StackBuildId, 32) if flags & MapFlags.STACK_BUILD_ID else (u64, 8)
        return u32, array_of(frame, value_size // size)

    def _value_codec(self) -> Codec:
        kind = layout(self.value_type)
        return _FramesCodec(kind) if isinstance(kind, TupleLayout) else super()._value_codec()
