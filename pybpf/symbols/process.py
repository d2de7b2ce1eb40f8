"""User-space addresses of one process to functions: its memory map, remembered past its end."""

from __future__ import annotations

import os
import re
import time
from array import array
from bisect import bisect_right
from collections.abc import Hashable, Iterable
from contextlib import suppress

from pybpf.errors import BpfError
from pybpf.lazy import regex
from pybpf.symbols.files import inside
from pybpf.symbols.image import Image
from pybpf.symbols.images import Images
from pybpf.symbols.library import Mapping, every_mapping, mapped_binary, process_error, process_root
from pybpf.symbols.perfmap import PerfMap
from pybpf.symbols.resolver import Resolver
from pybpf.symbols.symbol import UNKNOWN, Symbol

__all__ = ["DEFAULT_BYTES", "ProcessSymbols"]

#: of memory, for symbols
DEFAULT_BYTES = 32 << 20
#: Reading the map again, because an address is nowhere in it, may take so many seconds, and this part of the time.
_REREAD_SECONDS, _REREAD_PART = 0.05, 0.1
#: Whether the process is still the same is asked again after so many seconds.
_LOOK_SECONDS = 0.001
_MOST_VDSO = 1 << 16
_MAPPING_BYTES, _FILE_BYTES = 28, 600
_VDSO = "[vdso]"
_UIDS = regex(r"^Uid:\s+(\d+)\s+(\d+)", re.MULTILINE)
_PID_IN_NAMESPACE = regex(r"^NSpid:.*?(\d+)$", re.MULTILINE)
#: the key of files that cannot be opened
_GONE: Hashable = object()


class _File:
    """Something that a process has mapped, in one or more parts: a file, the vdso, or memory without a file."""

    __slots__ = ("deleted", "has_symbols", "inode", "key", "module", "path")

    def __init__(self, mapping: Mapping) -> None:
        self.path = mapping.path
        self.inode = mapping.inode
        self.deleted = mapping.deleted
        self.has_symbols = mapping.path == _VDSO or (mapping.path.startswith("/") and not mapping.path.startswith("//"))
        self.module = os.path.basename(mapping.path) if self.has_symbols else mapping.path
        self.key: Hashable = None  # in the cache of images, once it was there


class _Map:
    """What is where in a process: ``/proc/PID/maps``, in arrays, as a process can have 65,000 mappings."""

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        self.starts, self.ends, self.offsets = array("Q"), array("Q"), array("Q")
        self._file_of = array("I")
        self.files: list[_File] = []
        indexes: dict[tuple[str, int, bool], int] = {}
        for mapping in mappings:
            name = mapping.path, mapping.inode, mapping.deleted
            index = indexes.setdefault(name, len(self.files))
            if index == len(self.files):
                self.files.append(_File(mapping))
            self.starts.append(mapping.start)
            self.ends.append(mapping.end)
            self.offsets.append(mapping.offset)
            self._file_of.append(index)
        self.nbytes = _MAPPING_BYTES * len(self.starts) + _FILE_BYTES * len(self.files)

    def __len__(self) -> int:
        return len(self.starts)

    def same(self, other: _Map) -> bool:
        """Whether both have the same things at the same places."""
        return (self.starts, self.ends, self.offsets, self._names()) == (
            other.starts, other.ends, other.offsets, other._names()
        )  # fmt: skip

    def _names(self) -> list[tuple[str, int, bool]]:
        return [(file.path, file.inode, file.deleted) for file in self.files]

    def at(self, address: int) -> int | None:
        """The index of the mapping that has an address."""
        index = bisect_right(self.starts, address) - 1
        return index if index >= 0 and address < self.ends[index] else None

    def file(self, index: int) -> _File:
        """What is mapped there."""
        return self.files[self._file_of[index]]

    def mapping(self, index: int) -> Mapping:
        """The mapping, as far as finding its file takes it."""
        file = self.file(index)
        return Mapping(
            self.starts[index], self.ends[index], self.offsets[index], file.inode, file.path, file.deleted, True, False
        )


class ProcessSymbols(Resolver):
    """The functions of a process, also after it ended as far as its map and its files were read or are still there.

    The map is read at once, and again when an address is in none of its parts or when the process executed another
    program. Symbols are read when they are first needed.

    :param pid: as this process sees it.
    :param images: where the symbols of files are kept; a cache of its own when None.
    :raises NotFoundError: there is no such process.
    :raises BpfError: it may not be looked at.
    """

    def __init__(self, pid: int, images: Images | None = None) -> None:
        super().__init__()
        self.pid = pid
        self._images = Images(DEFAULT_BYTES) if images is None else images
        self._next_look = 0.0
        self._begin()

    def _begin(self) -> None:
        """Look at the process as if for the first time."""
        root, who, started = process_root(self.pid), _identity(self.pid), _start_time(self.pid)
        mapped, perf_map = _Map(every_mapping(self.pid)), _perf_map(self.pid, root)
        # nothing has changed if one of these failed
        self._root, self._who, self._started, self._map, self._perf_map = root, who, started, mapped, perf_map
        self._spent, self._since = -_REREAD_SECONDS, time.monotonic()
        self._read_again = self._perf_map_read = False  # since resolving was last asked for
        self._forget()

    @property
    def nbytes(self) -> int:
        """About how many bytes of memory this takes, without the symbols of files."""
        return self._map.nbytes + self._perf_map.nbytes + self.known_bytes

    def refresh(self) -> None:
        """Read the map again now."""
        self._next_look = 0.0
        self._prepare()
        self._refresh(at_once=True)

    def load(self) -> None:
        """Read the symbols of every file now: when the process has ended, deleted files and containers are gone.

        The names of very large files (of more than 4 MB) are still read when they are needed.
        """
        self._prepare()
        for index in range(len(self._map)):
            self._image(index)

    def _prepare(self) -> None:
        self._read_again = self._perf_map_read = False
        self._look()

    def _look(self) -> None:
        """Start again if the process is another one by now: its number was used again, or it called execve(2)."""
        moment = time.monotonic()
        if moment < self._next_look:
            return
        self._next_look = moment + _LOOK_SECONDS
        now = _identity(self.pid)
        if now == self._who or now is None:
            return
        same_program = self._who is not None and now[1:] == self._who[1:]
        if same_program and _start_time(self.pid) == self._started:
            self._who = now  # the kernel forgot the directory's inode and made a new one
            return
        with suppress(BpfError):  # it has ended meanwhile
            self._begin()

    def _find(self, address: int, inside: int) -> tuple[Symbol, bool]:
        index = self._map.at(inside)
        if index is None and self._refresh():
            index = self._map.at(inside)
        if index is None:
            return Symbol(UNKNOWN, address, "", "", address, 0), False
        file = self._map.file(index)
        image = self._image(index)
        offset = inside - self._map.starts[index] + self._map.offsets[index]
        virtual = image.address_of(offset) if image is not None else None
        if image is None or virtual is None:
            return self._compiled(address, inside, file, offset), False
        found = image.find(virtual)
        start = inside - virtual + (found.start if found else 0)
        name = found.name if found else UNKNOWN
        return Symbol(name, address - start, file.module, file.path, address, start), True

    def _compiled(self, address: int, inside: int, file: _File, offset: int) -> Symbol:
        """What an address in memory that is no ELF file is: perhaps code that the process itself made."""
        if not self._perf_map_read:
            self._perf_map_read = True
            self._perf_map.refresh()
        found = self._perf_map.find(inside)
        if found is not None:
            path = self._perf_map.name
            return Symbol(found.name, address - found.start, os.path.basename(path), path, address, found.start)
        start = inside - offset if file.has_symbols else 0
        return Symbol(UNKNOWN, address - start, file.module, file.path, address, start)

    def _refresh(self, *, at_once: bool = False) -> bool:
        """Read the map again, unless that was done too often; whether it has changed."""
        begin = time.monotonic()
        often = self._spent > _REREAD_PART * (begin - self._since)
        if (self._read_again or often) and not at_once:
            return False
        self._read_again = True
        try:
            new = _Map(every_mapping(self.pid))
        except BpfError:  # it has ended
            return False
        finally:
            self._spent += time.monotonic() - begin
        if not len(new) or new.same(self._map):  # a process that ends has an empty one
            return False
        self._map = new
        self._forget()
        return True

    def _image(self, index: int) -> Image | None:
        """The symbols of what is mapped there; None when it has none or is not there any more."""
        file = self._map.file(index)
        if not file.has_symbols or file.key is _GONE:
            return None
        image = self._images.cached(file.key)
        if image is None:
            found = self._vdso(index) if file.path == _VDSO else self._open(index)
            file.key, image = found or (_GONE, None)
        return image

    def _open(self, index: int) -> tuple[Hashable, Image] | None:
        mapping = self._map.mapping(index)
        roots = (self._root,) if self._root == "/" else (self._root, "/")
        paths = []
        with suppress(BpfError):
            paths.append(mapped_binary(self.pid, mapping, self._root).path)
        # When the process has ended, its files are still the same as long as they have the same inodes.
        with suppress(OSError, ValueError):
            if self._root == "/" and not mapping.deleted and os.stat(mapping.path).st_ino == mapping.inode:
                paths.append(mapping.path)
        for path in paths:
            found = self._images.of_file(path, mapping.path, roots)
            if found is not None:
                return found
        return None

    def _vdso(self, index: int) -> tuple[Hashable, Image] | None:
        """The library that the kernel maps into every process, the same one for all of the same word size."""
        start, size = self._map.starts[index], self._map.ends[index] - self._map.starts[index]
        places = [(self.pid, start)]
        places += [(os.getpid(), own.start) for own in every_mapping(os.getpid())
                   if own.path == _VDSO and own.end - own.start == size]  # fmt: skip
        for pid, at in places:
            with suppress(OSError, OverflowError), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                memory.seek(at)
                return self._images.of_bytes(memory.read(min(size, _MOST_VDSO)), _VDSO)
        return None


def _identity(pid: int) -> tuple[int, int, int] | None:
    """What changes when a process number is used again or its process calls execve(2); cheap. None when it ended."""
    device = inode = 0
    try:
        directory = os.stat(f"/proc/{pid}").st_ino
        with suppress(PermissionError):
            program = os.stat(f"/proc/{pid}/exe")
            device, inode = program.st_dev, program.st_ino
    except OSError:
        return None
    return directory, device, inode


def _start_time(pid: int) -> int | None:
    """Of a process, in clock ticks since boot."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


def _perf_map(pid: int, root: str) -> PerfMap:
    """Of a process, by the number that it knows itself by. :raises NotFoundError, BpfError: there is no process."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            status = file.read()
    except OSError as error:
        raise process_error(pid, error) from None
    number = _PID_IN_NAMESPACE.search(status)
    uids = _UIDS.search(status)
    name = f"/tmp/perf-{number[1] if number else pid}.map"
    return PerfMap(inside(root, name), name, frozenset({0, *map(int, uids.groups() if uids else ())}))
