"""How a type lies in memory: size, alignment, packing; one :class:`Layout` per kind of type."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from operator import index
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pybpf.errors import DeclarationError, PackError

__all__ = ["BoolLayout", "BytesLayout", "CharsLayout", "IntLayout", "Layout", "TupleLayout", "layout", "sizeof"]

T = TypeVar("T")

#: what of Python may be meant by a type of Python
_INSTEAD: Mapping[type, str] = MappingProxyType({
    int: "; an int has no size: write s64, or u64 where it is never negative",
    str: "; a str has no size: write char[16], say",
    bytes: "; bytes have no size: write u8[16], say",
    float: "; eBPF has no floating point: write u64, and count in smaller units",
})  # fmt: skip


class Layout(ABC, Generic[T]):
    """The C layout of a type and the way between its bytes and Python values.

    Everything goes through one :mod:`struct` format (native byte order, explicit padding), so that a run of
    equal records is decoded by one ``iter_unpack``. A type takes ``width`` of that format's items.

    :ivar size: bytes, padding at the end included.
    :ivar align: bytes.
    :ivar codes: :mod:`struct` codes without a byte-order prefix.
    :ivar width: how many items ``codes`` yields.
    """

    size: int
    align: int
    codes: str
    width: int

    @cached_property
    def code(self) -> struct.Struct:
        """The compiled format."""
        return struct.Struct("=" + self.codes)

    @abstractmethod
    def to_items(self, value: Any) -> tuple[Any, ...]:
        """``value`` as the items of :attr:`code`. :raises PackError: it is not a value of this type."""

    @abstractmethod
    def from_items(self, items: tuple[Any, ...]) -> T:
        """The value that :attr:`width` items stand for."""

    def pack(self, value: Any) -> bytes:
        """``value`` as :attr:`size` bytes, padding zeroed. :raises PackError: it does not fit the type."""
        return self.code.pack(*self.to_items(value))

    def unpack(self, buffer: Any, offset: int = 0) -> T:
        """The value at ``offset`` of a bytes-like object. :raises PackError: too few bytes."""
        try:
            return self.from_items(self.code.unpack_from(buffer, offset))
        except struct.error as error:
            raise PackError(f"cannot read {self} at offset {offset}: {error}") from None

    def iter_unpack(self, buffer: Any) -> Iterator[T]:
        """The values of a run of records, each :attr:`size` bytes. :raises PackError: not a whole number."""
        try:
            return map(self.from_items, self.code.iter_unpack(buffer))
        except struct.error as error:
            raise PackError(f"cannot read a run of {self}: {error}") from None


class IntLayout(Layout[int]):
    """A signed or unsigned integer of 1, 2, 4 or 8 bytes."""

    width = 1

    def __init__(self, size: int, signed: bool) -> None:
        self.size = self.align = size
        self.signed = signed
        code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
        self.codes = code if signed else code.upper()
        self.minimum = -(1 << (8 * size - 1)) if signed else 0
        self.maximum = (1 << (8 * size - signed)) - 1

    def to_items(self, value: Any) -> tuple[int]:
        try:
            number = index(value)
        except TypeError:
            raise PackError(f"cannot store {value!r} in {self}: not an integer") from None
        if not self.minimum <= number <= self.maximum:
            raise PackError(f"cannot store {number} in {self}: its range is {self.minimum} to {self.maximum}")
        return (number,)

    def from_items(self, items: tuple[Any, ...]) -> int:
        number: int = items[0]
        return number

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{8 * self.size}"


class BoolLayout(Layout[bool]):
    """C's ``bool``: one byte, 0 or 1."""

    size = align = width = 1
    codes = "?"

    def to_items(self, value: Any) -> tuple[bool]:
        if value not in (0, 1):
            raise PackError(f"cannot store {value!r} in {self}")
        return (bool(value),)

    def from_items(self, items: tuple[Any, ...]) -> bool:
        return bool(items[0])

    def __str__(self) -> str:
        return "bool"


class CharsLayout(Layout[str]):
    """``char[N]``: text up to the first NUL. Bytes that are not UTF-8 become surrogates, as in ``os.fsdecode``."""

    align = width = 1

    def __init__(self, size: int) -> None:
        self.size = size
        self.codes = f"{size}s"

    def to_items(self, value: Any) -> tuple[bytes]:
        if isinstance(value, str):
            try:
                data = value.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise PackError(f"cannot store {value!r} in {self}: {error.reason}") from None
        elif isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
        else:
            raise PackError(f"cannot store {value!r} in {self}: neither str nor bytes")
        if len(data) > self.size:
            raise PackError(f"cannot store {value!r} in {self}: it has {len(data)} bytes")
        return (data.ljust(self.size, b"\0"),)

    def from_items(self, items: tuple[Any, ...]) -> str:
        raw: bytes = items[0]
        return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return f"char[{self.size}]"


class BytesLayout(Layout[bytes]):
    """``u8[N]``: exactly N bytes."""

    align = width = 1

    def __init__(self, size: int) -> None:
        self.size = size
        self.codes = f"{size}s"

    def to_items(self, value: Any) -> tuple[bytes]:
        try:
            data = b"" if isinstance(value, int) else bytes(value)
        except (TypeError, ValueError):
            raise PackError(f"cannot store {value!r} in {self}: not bytes") from None
        if len(data) != self.size:
            raise PackError(f"cannot store {value!r} in {self}: it needs exactly {self.size} bytes")
        return (data,)

    def from_items(self, items: tuple[Any, ...]) -> bytes:
        raw: bytes = items[0]
        return raw

    def __str__(self) -> str:
        return f"u8[{self.size}]"


class TupleLayout(Layout["tuple[Any, ...]"]):
    """An array of anything but ``char`` and ``u8``: a tuple of exactly ``length`` values."""

    def __init__(self, element: Layout[Any], length: int) -> None:
        self.element = element
        self.length = length
        self.size = element.size * length
        self.align = element.align
        self.codes = f"{length}{element.codes}" if len(element.codes) == 1 else element.codes * length
        self.width = element.width * length

    def to_items(self, value: Any) -> tuple[Any, ...]:
        try:
            values = tuple(value)
        except TypeError:
            raise PackError(f"cannot store {value!r} in {self}: not a sequence") from None
        if len(values) != self.length:
            raise PackError(f"cannot store {len(values)} values in {self}: it takes {self.length}")
        return tuple(item for element in values for item in self.element.to_items(element))

    def from_items(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        step, make = self.element.width, self.element.from_items
        return tuple(make(items[i : i + step]) for i in range(0, self.width, step))

    def __str__(self) -> str:
        return f"{self.element}[{self.length}]"


def layout(kind: Any) -> Layout[Any]:
    """The layout of a type of this package. :raises DeclarationError: ``kind`` is not one."""
    found = getattr(kind, "__layout__", None) if isinstance(kind, type) else None
    if not isinstance(found, Layout):
        said = _INSTEAD.get(kind, "") if isinstance(kind, type) else ""
        raise DeclarationError(
            f"{kind!r} is not a pybpf type (u8 .. u64, s8 .. s64, bool_, char[N], T[N], a Struct class){said}"
        )
    return found


def sizeof(kind: Any) -> int:
    """The size of a type in bytes, padding included."""
    return layout(kind).size
