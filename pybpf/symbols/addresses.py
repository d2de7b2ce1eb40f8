"""From an address to the symbol that covers it: sorted arrays of numbers, and names that are read when asked for.

A symbol takes 16 bytes beside its name, and building no Python object for each keeps libraries such as LLVM (36,000
functions) at a few megabytes and hundredths of a second.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import compress, count, islice
from operator import gt
from typing import Protocol

from pybpf.errors import BpfError
from pybpf.record import NamedTuple
from pybpf.symbols.elf import plainness
from pybpf.symbols.files import open_regular

__all__ = ["MOST_SIZE", "AddressTable", "BytesNames", "FileNames", "Names", "identity"]

#: the largest size that a symbol can have here
MOST_SIZE = 0xFFFFFFFF
#: a symbol without a size ends where the next one starts, but at most so many bytes on
_MOST_UNSIZED = 1 << 18
#: how many symbols are looked at for one address: names of the same function, functions around it
_MOST_TRIED = 32
_MOST_NAME = 1 << 16
_PIECE = 256


class Names(Protocol):
    """The names of a table, by where they start."""

    nbytes: int  #: of memory

    def get(self, at: int) -> bytes:
        """The name there; ``b""`` when it cannot be had."""


class BytesNames:
    """Names in memory."""

    def __init__(self, text: bytes | bytearray, end: bytes = b"\0") -> None:
        self._text = text
        self._end = end
        self.nbytes = len(text)

    def get(self, at: int) -> bytes:
        """See :class:`Names`. Very long names are cut."""
        most = at + _MOST_NAME
        end = self._text.find(self._end, at, most)
        return bytes(self._text[at : end if end >= 0 else most])


class FileNames:
    """Names in a part of a file, which is opened for each: for those that would take too much memory.

    :param path: of the file; nothing is read from it once it is another file, or was written to.
    """

    nbytes = 0

    def __init__(self, path: str, status: os.stat_result, start: int, size: int) -> None:
        self._path = path
        self._identity = identity(status)
        self._start, self._size = start, size

    def get(self, at: int) -> bytes:
        """See :class:`Names`. Very long names are cut."""
        name = b""
        most = min(_MOST_NAME, self._size - at)
        try:
            with open_regular(self._path) as fd:
                if identity(os.fstat(fd.fileno())) != self._identity:
                    return b""
                while len(name) < most:
                    piece = os.pread(fd.fileno(), min(_PIECE, most - len(name)), self._start + at + len(name))
                    head, end, _ = piece.partition(b"\0")
                    name += head
                    if end or not piece:
                        break
        except (BpfError, OSError):
            return b""
        return name


def identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """What tells a file, and a version of it, from others."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class Covering(NamedTuple):
    """A symbol that covers an address."""

    start: int
    name: str


class AddressTable:
    """Symbols by address. The three arrays have an item for each symbol, in any order.

    :param starts: addresses (``array('Q')``).
    :param sizes: bytes, 0 where not known (``array('I')``).
    :param offsets: where each name starts in ``names`` (``array('I')``).
    """

    def __init__(self, starts: array[int], sizes: array[int], offsets: array[int], names: Names) -> None:
        labels = 0 in sizes and any(sizes)
        if labels:  # behind what has a size
            keys = [start << 1 | (not size) for start, size in zip(starts, sizes)]
            starts, sizes, offsets = _reordered(keys, starts, sizes, offsets)
        else:
            _sort(starts, sizes, offsets)
        if labels:
            kept = _without_labels(starts, sizes)
            starts, sizes, offsets = (_taken(column, kept) for column in (starts, sizes, offsets))
        if 0 in sizes:
            _give_sizes(starts, sizes)
        self._starts, self._sizes, self._offsets, self._names = starts, sizes, offsets, names
        self.nbytes = 16 * len(starts) + names.nbytes

    def __len__(self) -> int:
        return len(self._starts)

    def find(self, address: int) -> Covering | None:
        """The innermost symbol that covers an address; of several with the same start, the plainest name."""
        starts, sizes = self._starts, self._sizes
        at = bisect_right(starts, address) - 1
        found: list[str] = []
        start = -1
        for index in range(at, max(at - _MOST_TRIED, -1), -1):
            if found and starts[index] != start:
                break
            if address - starts[index] < sizes[index]:
                name = self.name(self._names.get(self._offsets[index]))
                if name:
                    start = starts[index]
                    found.append(name)
        if not found:
            return None
        return Covering(start, found[0] if len(found) == 1 else min(found, key=plainness))

    def name(self, raw: bytes) -> str:
        """What to call a symbol with this name in the table; ``""`` for one that is to be passed over."""
        return raw.decode("utf-8", "surrogateescape")


def _sort(starts: array[int], *others: array[int]) -> None:
    """Sort the columns by the first, in place. Those of the kernel are many, and nearly all of them are sorted."""
    unsorted = next(compress(count(1), map(gt, starts, islice(starts, 1, None))), None)
    if unsorted is None:
        return
    cut = bisect_left(starts, min(islice(starts, unsorted, None)), 0, unsorted)
    columns = (starts, *others)
    tails = [column[cut:] for column in columns]
    for column, tail in zip(columns, _reordered(tails[0], *tails)):
        column[cut:] = tail


def _reordered(keys: Sequence[int], *columns: array[int]) -> list[array[int]]:
    """The columns with their items in the order of their keys."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [_taken(column, order) for column in columns]


def _taken(column: array[int], kept: Sequence[int]) -> array[int]:
    return array(column.typecode, map(column.__getitem__, kept))


def _without_labels(starts: array[int], sizes: array[int]) -> array[int]:
    """The symbols but for those without a size inside another that has one: such are labels in assembly code."""
    kept = array("I")
    end = 0
    for index, (start, size) in enumerate(zip(starts, sizes)):
        if size:
            end = max(end, start + size)
        elif start < end:
            continue
        kept.append(index)
    return kept


def _give_sizes(starts: array[int], sizes: array[int]) -> None:
    """Let each symbol without a size reach to the next one."""
    following = here = 1 << 64
    for index in range(len(starts) - 1, -1, -1):
        start = starts[index]
        if start != here:
            following, here = here, start
        if not sizes[index]:
            sizes[index] = min(following - start, _MOST_UNSIZED)
