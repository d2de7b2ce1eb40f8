"""Symbols that were split off an ELF file: by build id, by debug link, or compressed inside it (MiniDebugInfo)."""

from __future__ import annotations

import errno
import lzma
import os
import posixpath
import struct
import zlib
from collections.abc import Iterator, Sequence

from pybpf.errors import BpfError
from pybpf.symbols.elf import ElfFile
from pybpf.symbols.files import inside

__all__ = ["debug_file", "in_memory", "mini_debug_info"]

_DEBUG = "/usr/lib/debug"
_PIECE = 1 << 20
#: A file that a debug link names is read whole for its checksum: not if it is larger than this.
_MOST_CHECKED = 1 << 29
_MOST_MINI = 1 << 25
_MOST_MEMORY = 1 << 27  # of the decompressor


def debug_file(elf: ElfFile, path: str, roots: Sequence[str]) -> ElfFile | None:
    """The opened file with the symbols of ``elf``; None when there is none that belongs to it.

    :param path: of ``elf`` as its processes see it.
    :param roots: root directories to look in.
    """
    for root in roots:
        for name, checksum in _candidates(elf, path):
            try:
                found = ElfFile(inside(root, name))
            except BpfError:
                continue
            try:
                if _belongs(found, elf, checksum) and found.symbol_sections():
                    return found
            except BpfError:
                pass
            found.close()
    return None


def _candidates(elf: ElfFile, path: str) -> Iterator[tuple[str, int | None]]:
    """Paths, with the checksum that the file there must have, None where only the build id counts."""
    build_id = elf.build_id
    if build_id and len(build_id) > 2:
        yield f"{_DEBUG}/.build-id/{build_id[:2]}/{build_id[2:]}.debug", None
    link = elf.section(".gnu_debuglink")
    if link is None:
        return
    data = elf.data(link)
    name, _, _ = data.partition(b"\0")
    at = (len(name) + 4) & ~3
    if not name or b"/" in name or len(data) < at + 4:
        return
    (checksum,) = struct.unpack_from("=I", data, at)
    directory, file = posixpath.dirname(path), os.fsdecode(name)
    for place in (directory, f"{directory}/.debug", f"{_DEBUG}{directory}"):
        yield f"{place}/{file}", checksum


def _belongs(found: ElfFile, elf: ElfFile, checksum: int | None) -> bool:
    if os.path.samestat(found.status, elf.status) or found.bits != elf.bits:
        return False
    if checksum is None or (found.build_id and elf.build_id):
        return found.build_id == elf.build_id
    if found.file_size > _MOST_CHECKED:
        return False
    crc = 0
    for offset in range(0, found.file_size, _PIECE):
        crc = zlib.crc32(found.read(offset, _PIECE), crc)
    return crc == checksum


def mini_debug_info(elf: ElfFile) -> ElfFile | None:
    """The file in section ``.gnu_debugdata``, opened; None when there is none that can be read."""
    section = elf.section(".gnu_debugdata")
    if section is None:
        return None
    try:
        unpacker = lzma.LZMADecompressor(memlimit=_MOST_MEMORY)
        return in_memory(unpacker.decompress(elf.data(section), _MOST_MINI), f"the debug data in {elf.name}")
    except (lzma.LZMAError, BpfError):
        return None


def in_memory(data: bytes, name: str) -> ElfFile:
    """An ELF file that has no file. :raises BpfError: it is damaged."""
    try:
        fd = os.memfd_create("pybpf", os.MFD_CLOEXEC)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            return ElfFile(f"/proc/self/fd/{fd}", name, in_memory=True)
        finally:
            os.close(fd)
    except OSError as error:
        raise BpfError(f"cannot read {name}: {os.strerror(error.errno or errno.EIO)}") from None
