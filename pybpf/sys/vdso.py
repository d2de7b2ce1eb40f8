"""The running kernel's version code, which Linux before 5.0 wants of kprobe programs."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Callable

from pybpf.sys.libc import getauxval

__all__ = ["kernel_version", "note_version"]

_AT_SYSINFO_EHDR = 33
_PT_NOTE = 4


def kernel_version() -> int:
    """LINUX_VERSION_CODE: ``0x050a07`` is 5.10.7. For the kernel's own check only; probe features instead.

    It stands in a note of the vDSO, the library that the kernel maps into every process. What uname(2) says may
    be another (distributions change it: Debian's 5.10.262 calls itself 5.10.0) and is used where there is no vDSO.
    """
    start = getauxval(_AT_SYSINFO_EHDR)
    found = note_version(lambda offset, size: ctypes.string_at(start + offset, size)) if start else None
    return _release_code(os.uname().release) if found is None else found


def note_version(read: Callable[[int, int], bytes]) -> int | None:
    """The version code in the ELF notes of a vDSO; None when it has none.

    :param read: gives ``size`` bytes at ``offset`` of the 64-bit ELF image.
    """
    header = read(0, 64)
    (table,) = struct.unpack_from("=Q", header, 32)  # e_phoff
    entry, count = struct.unpack_from("=HH", header, 54)  # e_phentsize, e_phnum
    for index in range(count):
        # p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz
        kind, _, start, _, _, length = struct.unpack("=IIQQQQ", read(table + index * entry, 40))
        if kind != _PT_NOTE:
            continue
        notes = read(start, length)
        offset = 0
        while offset + 12 <= len(notes):
            name_size, size, note = struct.unpack_from("=III", notes, offset)
            name = notes[offset + 12 : offset + 12 + name_size]
            offset += 12 + (name_size + 3 & ~3)
            if name == b"Linux\0" and note == 0 and size == 4:
                (code,) = struct.unpack_from("=I", notes, offset)
                return int(code)
            offset += size + 3 & ~3
    return None


def _release_code(release: str) -> int:
    """``"5.10.0-28-amd64"`` -> its code. The third number is a byte in the code."""
    numbers = [int(number) for number in re.findall(r"\d+", release.partition("-")[0])[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major << 16 | minor << 8 | min(patch, 255)
