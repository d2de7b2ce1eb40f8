"""``Mappings``: what is left of memory that was mapped, of which any pages can be given back."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from pybpf.record import NamedTuple

__all__ = ["Mappings", "Piece"]

#: what tells address spaces apart
Space = tuple[int, ...]
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Piece(NamedTuple):
    """Memory of one mapping, or a part of it that is left."""

    start: int
    end: int
    time: int  #: when it was mapped
    number: int  #: of the mapping: pieces of one have the same
    stack: Any  #: who mapped it


class Mappings:
    """Those of any number of address spaces::

        mappings = Mappings()
        mappings.add(pid, address, size, time, stack)
        mappings.remove(pid, address, 4096, time)          # a page of it

    Sizes are as they were asked for; what is removed, or mapped over, is whole pages, as mmap(2) and munmap(2) do it.
    """

    def __init__(self) -> None:
        self._spaces: dict[Space, list[Piece]] = {}  # in the order of their addresses; none overlaps another
        self._made = 0

    def add(self, space: Space, start: int, size: int, time: int, stack: Any) -> None:
        """Memory was mapped. What was there before is to be removed first."""
        self._made += 1
        pieces = self._spaces.setdefault(space, [])
        pieces.insert(bisect_left(pieces, (start,)), Piece(start, start + size, time, self._made, stack))

    def remove(self, space: Space, start: int, size: int, since: int) -> list[tuple[int, int]]:
        """Memory was given back, or is mapped anew.

        :param since: what was mapped later is something else.
        :return: address and size of each part that is gone.
        """
        pieces = self._spaces.get(space)
        if not pieces or not size or start % _PAGE:  # the kernel refuses both
            return []
        end = start + -(-size // _PAGE) * _PAGE
        first = max(bisect_right(pieces, (start,)) - 1, 0)  # which may reach into it
        last = bisect_left(pieces, (end,))
        kept: list[Piece] = []
        gone = []
        for piece in pieces[first:last]:
            low, high = max(piece.start, start), min(piece.end, end)
            if low >= high or piece.time > since:
                kept.append(piece)
                continue
            gone.append((low, high - low))
            parts = (piece.start, low), (high, piece.end)
            kept += [piece._replace(start=begin, end=stop) for begin, stop in parts if begin < stop]
        pieces[first:last] = kept
        return gone

    def forget(self, space: Space) -> None:
        """An address space is there no more."""
        self._spaces.pop(space, None)

    def __iter__(self) -> Iterator[tuple[Space, Piece]]:
        """All of them, with their address spaces."""
        for space, pieces in list(self._spaces.items()):
            for piece in pieces:
                yield space, piece
