"""Between Python values and the bytes that bpf(2) takes and gives for keys and values."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from pybpf.errors import PackError
from pybpf.types import Layout
from pybpf.types.layout import IntLayout

__all__ = ["Codec", "FdCodec", "IntCodec", "LayoutCodec", "NoCodec", "PerCpuCodec", "codec", "descriptor"]


class Codec(ABC):
    """Turns values into bytes and back, one at a time or a run of them at once.

    :ivar size: bytes of one value.
    """

    size: int

    @abstractmethod
    def pack_into(self, buffer: bytearray, value: Any) -> None:
        """Write ``value`` at the start of ``buffer``. :raises PackError: it does not fit."""

    @abstractmethod
    def unpack(self, buffer: Any) -> Any:
        """The value at the start of ``buffer``."""

    @abstractmethod
    def unpack_run(self, buffer: Any) -> Iterator[Any]:
        """The values of a buffer that holds nothing else."""

    def pack_run(self, values: Iterable[Any]) -> bytes:
        """The bytes of ``values``, one after the other. :raises PackError: one does not fit."""
        one = bytearray(self.size)
        parts = []
        for value in values:
            self.pack_into(one, value)
            parts.append(bytes(one))
        return b"".join(parts)


class NoCodec(Codec):
    """For maps without keys."""

    size = 0

    def pack_into(self, buffer: bytearray, value: Any) -> None:
        raise PackError("this map has no keys")

    def unpack(self, buffer: Any) -> Any:
        raise PackError("this map has no keys")

    def unpack_run(self, buffer: Any) -> Iterator[Any]:
        return iter(())


class LayoutCodec(Codec):
    """Any type of :mod:`pybpf.types`."""

    def __init__(self, layout: Layout[Any]) -> None:
        self.layout = layout
        self.size = layout.size

    def pack_into(self, buffer: bytearray, value: Any) -> None:
        self.layout.code.pack_into(buffer, 0, *self.layout.to_items(value))

    def unpack(self, buffer: Any) -> Any:
        return self.layout.from_items(self.layout.code.unpack_from(buffer))

    def unpack_run(self, buffer: Any) -> Iterator[Any]:
        return self.layout.iter_unpack(buffer)


class IntCodec(LayoutCodec):
    """Integers, the commonest keys and values: packed without Python code per value."""

    def pack_into(self, buffer: bytearray, value: Any) -> None:
        try:
            self.layout.code.pack_into(buffer, 0, value)
        except struct.error:  # to_items says what is wrong with the value
            self.layout.code.pack_into(buffer, 0, *self.layout.to_items(value))

    def unpack(self, buffer: Any) -> Any:
        return self.layout.code.unpack_from(buffer)[0]

    def unpack_run(self, buffer: Any) -> Iterator[Any]:
        return chain.from_iterable(self.layout.code.iter_unpack(buffer))

    def pack_run(self, values: Iterable[Any]) -> bytes:
        values = list(values)
        try:
            return struct.pack(f"={len(values)}{self.layout.codes}", *values)
        except struct.error:
            return super().pack_run(values)


class PerCpuCodec(Codec):
    """A list with one value for each possible CPU; each takes a multiple of 8 bytes."""

    def __init__(self, layout: Layout[Any], cpus: int) -> None:
        self.layout = layout
        self.cpus = cpus
        stride = layout.size + -layout.size % 8
        self.size = stride * cpus
        # A type of one item gives a whole list per record without Python code.
        self._single = isinstance(layout, IntLayout)
        self._code = struct.Struct("=" + (layout.codes + "x" * (stride - layout.size)) * cpus)

    def pack_into(self, buffer: bytearray, value: Any) -> None:
        if not isinstance(value, (list, tuple)) or len(value) != self.cpus:
            raise PackError(f"a per-CPU value is a list of {self.cpus} x {self.layout}, not {value!r}")
        self._code.pack_into(buffer, 0, *chain.from_iterable(map(self.layout.to_items, value)))

    def unpack(self, buffer: Any) -> list[Any]:
        return self._values(self._code.unpack_from(buffer))

    def unpack_run(self, buffer: Any) -> Iterator[list[Any]]:
        return map(list if self._single else self._values, self._code.iter_unpack(buffer))

    def _values(self, items: tuple[Any, ...]) -> list[Any]:
        width, make = self.layout.width, self.layout.from_items
        return [make(items[i : i + width]) for i in range(0, len(items), width)]


class FdCodec(Codec):
    """A kernel object: stored as a descriptor, read back (where the kernel allows) as the object's id."""

    size = 4
    _code = struct.Struct("=i")
    _id = struct.Struct("=I")

    def pack_into(self, buffer: bytearray, value: Any) -> None:
        self._code.pack_into(buffer, 0, descriptor(value))

    def unpack(self, buffer: Any) -> int:
        number: int = self._id.unpack_from(buffer)[0]
        return number

    def unpack_run(self, buffer: Any) -> Iterator[int]:
        return chain.from_iterable(self._id.iter_unpack(buffer))


def descriptor(value: Any) -> int:
    """The file descriptor that an object stands for: an ``int``, ``x.fileno()`` or ``x.fd.fileno()``.

    :raises PackError: it stands for none.
    """
    if isinstance(value, int):
        if not 0 <= value < 1 << 31:
            raise PackError(f"{value} is not a file descriptor")
        return value
    fileno = getattr(value, "fileno", None) or getattr(getattr(value, "fd", None), "fileno", None)
    if fileno is None:
        raise PackError(f"{value!r} is neither a file descriptor nor an object that has one")
    number: int = fileno()
    return number


def codec(layout: Layout[Any]) -> Codec:
    """The fastest codec for a layout."""
    return IntCodec(layout) if isinstance(layout, IntLayout) else LayoutCodec(layout)
