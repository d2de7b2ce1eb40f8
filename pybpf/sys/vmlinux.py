"""Ids of a few named types in the kernel's own BTF, for feature probes; the full reader is :mod:`pybpf.btf`."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping
from types import MappingProxyType

__all__ = ["FUNC", "TYPEDEF", "find_ids"]

TYPEDEF, FUNC = 8, 12
_MAGIC = 0xEB9F
# kind -> (words after the three of struct btf_type, words for each of its vlen members); include/uapi/linux/btf.h
_EXTRA: Mapping[int, tuple[int, int]] = MappingProxyType({
    1: (1, 0), 2: (0, 0), 3: (3, 0), 4: (0, 3), 5: (0, 3), 6: (0, 2), 7: (0, 0), 8: (0, 0), 9: (0, 0), 10: (0, 0),
    11: (0, 0), 12: (0, 0), 13: (0, 2), 14: (1, 0), 15: (0, 3), 16: (0, 0), 17: (1, 0), 18: (0, 0), 19: (0, 3),
})  # fmt: skip


def find_ids(wanted: Iterable[tuple[int, str]], path: str = "/sys/kernel/btf/vmlinux") -> dict[tuple[int, str], int]:
    """``{(FUNC, "name"): id}`` of those of ``wanted`` that the BTF file has; one walk over all types, some 40 ms.

    :raises OSError: there is no such file.
    :raises ValueError: it is not BTF that this version understands.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        # magic, version, flags, header length, then offset and length of the types and of the strings
        magic, _, _, header, types, types_size, strings, _ = struct.unpack_from("=HBBIIIII", data)
    except struct.error as error:
        raise ValueError(f"{path}: {error}") from None
    if magic != _MAGIC:
        raise ValueError(f"{path} is not BTF of this machine's byte order")
    names: dict[tuple[int, int], tuple[int, str]] = {}
    for kind, name in wanted:
        # the linker of BTF keeps each string once
        at = data.find(b"\0" + name.encode() + b"\0", header + strings)
        if at >= 0:
            names[kind, at + 1 - header - strings] = (kind, name)
    words = array("I")
    words.frombytes(data[header + types : header + types + (types_size & ~3)])
    found: dict[tuple[int, str], int] = {}
    index, number = 0, 1
    while index + 3 <= len(words) and len(found) < len(names):
        info = words[index + 1]
        kind = info >> 24 & 31
        if (kind, words[index]) in names:
            found[names[kind, words[index]]] = number
        if kind not in _EXTRA:
            raise ValueError(f"{path}: type {number} is of kind {kind}, which is unknown")
        fixed, each = _EXTRA[kind]
        index += 3 + fixed + each * (info & 0xFFFF)
        number += 1
    return found
