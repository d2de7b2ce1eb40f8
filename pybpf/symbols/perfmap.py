"""Functions that a just-in-time compiler made, from the ``/tmp/perf-PID.map`` that it writes (Java, Node.js, Python).

A line is ``START SIZE NAME``, both numbers hexadecimal; a later line replaces an earlier one.
"""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_right
from itertools import islice

from pybpf.errors import BpfError
from pybpf.lazy import regex
from pybpf.symbols.addresses import BytesNames, Covering
from pybpf.symbols.files import open_regular

__all__ = ["PerfMap"]

_LINE = regex(rb"^(?:0x)?([0-9a-fA-F]{1,16}) +(?:0x)?([0-9a-fA-F]{1,16}) +([^\n]*)\n", re.MULTILINE)
#: of a file; what comes later is not read
_MOST_BYTES = 1 << 25
_MOST_FUNCTIONS = 1 << 18
_MOST_TRIED = 16


class PerfMap:
    """The map of one process.

    :param path: of the file, which need not exist yet.
    :param name: its path as the process sees it.
    :param owners: the users whose file it may be: in ``/tmp`` everybody can write one.
    """

    def __init__(self, path: str, name: str, owners: frozenset[int]) -> None:
        self.path = path
        self.name = name
        self._owners = owners
        self._file: tuple[int, int] | None = None
        self._clear()

    def _clear(self) -> None:
        self._text = b""  # of the file, as far as it is read
        self._starts, self._sizes, self._names = array("Q"), array("Q"), array("I")

    @property
    def nbytes(self) -> int:
        """How many bytes of memory it takes."""
        return len(self._text) + 20 * len(self._starts)

    def refresh(self) -> None:
        """Read what was added since the last time."""
        try:
            status = os.stat(self.path)
            if self._file == (status.st_dev, status.st_ino) and status.st_size == len(self._text):
                return
            with open_regular(self.path) as fd:
                status = os.fstat(fd.fileno())
                if status.st_uid not in self._owners:
                    return
                if self._file != (status.st_dev, status.st_ino) or status.st_size < len(self._text):
                    self._clear()
                    self._file = status.st_dev, status.st_ino
                text = os.pread(fd.fileno(), _MOST_BYTES - len(self._text), len(self._text))
        except (BpfError, OSError, ValueError):
            return
        self._add(text[: text.rfind(b"\n") + 1])

    def _add(self, text: bytes) -> None:
        rows = dict(zip(self._starts, zip(self._sizes, self._names)))
        before = len(self._text)
        for line in islice(_LINE.finditer(text), max(_MOST_FUNCTIONS - len(rows), 0)):
            rows[int(line[1], 16)] = int(line[2], 16), before + line.start(3)
        self._text += text
        self._starts = array("Q", sorted(rows))
        self._sizes = array("Q", (rows[start][0] for start in self._starts))
        self._names = array("I", (rows[start][1] for start in self._starts))

    def find(self, address: int) -> Covering | None:
        """The function at an address; where old code was overwritten by new, the new."""
        at = bisect_right(self._starts, address) - 1
        tried = range(max(at - _MOST_TRIED, -1) + 1, at + 1)
        covering = [index for index in tried if address - self._starts[index] < self._sizes[index]]
        if not covering:
            return None
        index = max(covering, key=self._names.__getitem__)  # the last in the file
        name = BytesNames(self._text, b"\n").get(self._names[index])
        return Covering(self._starts[index], name.decode("utf-8", "surrogateescape"))
