"""The running kernel's LINUX_VERSION_CODE, as Linux before 5.0 wants it for kprobe programs."""

from __future__ import annotations

import ctypes
import struct
from functools import cache

__all__ = ["find_version", "kernel_version"]

_AT_SYSINFO_EHDR = 33  # include/uapi/linux/auxvec.h
_EHDR_SIZE = 64
_PHDR = struct.Struct("=II6Q")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
_NOTE = struct.Struct("=III")
_PT_NOTE = 4


@cache
def kernel_version() -> int:
    """``major << 16 | minor << 8 | patch``, from the note in the vDSO: distributions change what uname(2) says.

    0 where there is no vDSO, or none with that note.
    """
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    base: int = getauxval(_AT_SYSINFO_EHDR)
    if not base:
        return 0
    header = ctypes.string_at(base, _EHDR_SIZE)
    table, count = struct.unpack_from("=Q", header, 32)[0], struct.unpack_from("=H", header, 56)[0]
    segments = list(_PHDR.iter_unpack(ctypes.string_at(base + table, count * _PHDR.size)))
    for kind, _, offset, _, _, size, _, _ in segments:
        if kind == _PT_NOTE:
            return find_version(ctypes.string_at(base + offset, size))
    return 0


def find_version(notes: bytes) -> int:
    """The version in the contents of a note section: the note of type 0 by "Linux"; 0 if there is none."""
    at = 0
    while at + _NOTE.size <= len(notes):
        name_size, size, kind = _NOTE.unpack_from(notes, at)
        name = at + _NOTE.size
        data = name + (name_size + 3 & ~3)
        if kind == 0 and notes[name : name + name_size] == b"Linux\0" and size == 4 and data + 4 <= len(notes):
            version: int = struct.unpack_from("=I", notes, data)[0]
            return version
        at = data + (size + 3 & ~3)
    return 0
