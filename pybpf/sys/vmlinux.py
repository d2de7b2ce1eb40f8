"""Ids of a few named types in the kernel's own BTF, for feature probes; the full reader is :mod:`pybpf.btf`."""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from io import FileIO
from types import MappingProxyType
from typing import TypeVar

__all__ = ["FUNC", "TYPEDEF", "find_ids"]

TYPEDEF, FUNC = 8, 12
_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
R = TypeVar("R", bytearray, "array[int]")
# kind -> (words after the three of struct btf_type, words for each of its vlen members); include/uapi/linux/btf.h
_EXTRA: Mapping[int, tuple[int, int]] = MappingProxyType({
    1: (1, 0), 2: (0, 0), 3: (3, 0), 4: (0, 3), 5: (0, 3), 6: (0, 2), 7: (0, 0), 8: (0, 0), 9: (0, 0), 10: (0, 0),
    11: (0, 0), 12: (0, 0), 13: (0, 2), 14: (1, 0), 15: (0, 3), 16: (0, 0), 17: (1, 0), 18: (0, 0), 19: (0, 3),
})  # fmt: skip


def find_ids(wanted: Iterable[tuple[int, str]], path: str = "/sys/kernel/btf/vmlinux") -> dict[tuple[int, str], int]:
    """``{(FUNC, "name"): id}`` of those of ``wanted`` that the BTF file has; one walk over all types, some 15 ms.

    :raises OSError: there is no such file.
    :raises ValueError: it is not BTF that this version understands.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            # magic, version, flags, header length, then offset and length of the types and of the strings
            magic, _, _, header, types, types_size, strings, _ = _HEADER.unpack(file.read(_HEADER.size))
        except struct.error as error:
            raise ValueError(f"{path}: {error}") from None
        if magic != _MAGIC:
            raise ValueError(f"{path} is not BTF of this machine's byte order")
        names: dict[tuple[int, int], tuple[int, str]] = {}
        # one after the other, and into place: these are the most bytes that a tool has at a time
        text = _read(file, header + strings, size, bytearray)
        for kind, name in wanted:
            # the linker of BTF keeps each string once
            at = text.find(b"\0" + name.encode() + b"\0")
            if at >= 0:
                names[kind, at + 1] = (kind, name)
        del text
        start, end = header + types, min(header + types + types_size, size)
        words = _read(file, start, end, lambda count: array("I", [0]) * (count // 4))
    found: dict[tuple[int, str], int] = {}
    offsets, steps = {offset for _, offset in names}, _Steps()
    at, number, end = 0, 1, len(words) - 2
    try:
        while at < end:  # as little work per type as Python can do: there are more than 100,000
            if words[at] in offsets:
                key = words[at + 1] >> 24 & 31, words[at]
                if key in names:
                    found[names[key]] = number
                    if len(found) == len(names):
                        break
            at += steps[words[at + 1]]
            number += 1
    except KeyError as error:
        raise ValueError(f"{path}: type {number} is of kind {error}, which is unknown") from None
    return found


def _read(file: FileIO, start: int, end: int, room: Callable[[int], R]) -> R:
    """What is in a file from ``start`` to ``end``, in room of this size."""
    made = room(max(end - start, 0))
    file.seek(start)
    with memoryview(made).cast("B") as left:
        at = 0
        while at < len(left) and (count := file.readinto(left[at:])):
            at += count
    return made


class _Steps(dict[int, int]):
    """``info`` word -> number of words of such a type. :raises KeyError: its kind is not known."""

    def __missing__(self, info: int) -> int:
        fixed, each = _EXTRA[info >> 24 & 31]
        self[info] = words = 3 + fixed + each * (info & 0xFFFF)
        return words
