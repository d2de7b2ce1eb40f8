"""The images of the ELF files that processes have mapped, read once for all of them and bounded in memory."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence

from pybpf.errors import BpfError, UnsupportedError
from pybpf.symbols.addresses import identity
from pybpf.symbols.cache import ByteCache
from pybpf.symbols.debugfile import in_memory
from pybpf.symbols.elf import ElfFile
from pybpf.symbols.image import EMPTY, Image, read_image

__all__ = ["Images"]


class Images:
    """A cache by file (device, inode, time of change, size), or by content for what is in memory only."""

    def __init__(self, max_bytes: int) -> None:
        self._cache: ByteCache[Hashable, Image] = ByteCache(max_bytes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that all take."""
        return self._cache.nbytes

    def cached(self, key: Hashable) -> Image | None:
        """The image with a key that :meth:`of_file` or :meth:`of_bytes` gave, if it is still there."""
        return self._cache.get(key)

    def of_file(self, path: str, name: str, roots: Sequence[str]) -> tuple[Hashable, Image] | None:
        """A file's key and image, an empty one where it is no ELF file or a damaged one; None when it is not there.

        :param path: to open.
        :param name: the path as the process sees it.
        :param roots: root directories to look for debug files in.
        """
        try:
            key = identity(os.stat(path))
        except (OSError, ValueError):
            return None
        image = self._cache.get(key)
        if image is None:
            try:
                with ElfFile(path, name) as elf:
                    key = identity(elf.status)
                    image = read_image(elf, name, roots)
            except UnsupportedError:
                raise
            except BpfError:
                image = EMPTY
            self._cache.put(key, image, image.nbytes)
        return key, image

    def of_bytes(self, data: bytes, name: str) -> tuple[Hashable, Image]:
        """The same for a file in memory."""
        image = self._cache.get(data)
        if image is None:
            try:
                with in_memory(data, name) as elf:
                    image = read_image(elf, "", ())
            except BpfError:
                image = EMPTY
            self._cache.put(data, image, image.nbytes + len(data))
        return data, image
