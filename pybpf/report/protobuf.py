"""Protocol buffers: their wire format (https://protobuf.dev/programming-guides/encoding), to write it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Union

__all__ = ["message", "packed", "varint"]

Value = Union[int, bytes]
_VARINT, _BYTES = 0, 2
_BITS = 64


def varint(value: int) -> bytes:
    """An integer, 7 bits to a byte, the lowest first; a negative one as its 64 bits of two's complement."""
    value &= (1 << _BITS) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def packed(values: Iterable[int]) -> bytes:
    """A repeated field of integers."""
    return b"".join(map(varint, values))


def message(*fields: tuple[int, Value]) -> bytes:
    """A message from (number of the field, value), in this order; text and other messages are bytes.

    An integer that is zero is left out, as it is the default.
    """
    return b"".join(_field(number, value) for number, value in fields if value or isinstance(value, bytes))


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    return varint(number << 3 | _BYTES) + varint(len(value)) + value
