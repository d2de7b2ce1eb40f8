"""Kernel addresses to functions of the kernel, of its modules and of BPF programs, from ``/proc/kallsyms``."""

from __future__ import annotations

import re
import sys
from array import array
from functools import cached_property
from itertools import accumulate, islice

from pybpf.errors import BpfError
from pybpf.lazy import regex
from pybpf.symbols.addresses import AddressTable, BytesNames
from pybpf.symbols.kallsyms import KALLSYMS, chunks
from pybpf.symbols.resolver import Resolver
from pybpf.symbols.symbol import UNKNOWN, Symbol

__all__ = ["KernelSymbols"]

_FUNCTION = regex(rb"^([0-9a-f]{16}) [tTwW] ([^\n]*)$", re.MULTILINE)
#: where code ends: what follows has no name
_ENDS = frozenset({"_etext", "_einittext", "__entry_text_end", "__irqentry_text_end"})
#: read at once: what is found in it takes seven times as much memory, for a moment
_CHUNK = 1 << 16
_HIDDEN = "the kernel hides its addresses; run as root with CAP_SYSLOG, and set kernel.kptr_restrict to 0 or 1"


class KernelSymbols(Resolver):
    """The functions of the running kernel, read when the first address is asked for, and once only.

    :param path: another file in the format of ``/proc/kallsyms``.
    """

    def __init__(self, path: str = KALLSYMS) -> None:
        super().__init__()
        self._path = path

    @cached_property
    def _read(self) -> tuple[AddressTable, str]:
        starts, offsets = array("Q"), array("I")
        names = bytearray()  # which grows without being copied to another place at the end
        reason = ""
        try:
            for text in chunks(self._path, _CHUNK):
                found = _FUNCTION.findall(text)
                if not found:
                    continue
                addresses, tails = zip(*found)
                starts.frombytes(bytes.fromhex(b"".join(addresses).decode("ascii")))
                ends = accumulate(map(len, tails), lambda at, size: at + size + 1, initial=len(names))
                offsets.extend(islice(ends, len(tails)))
                names += b"\n".join(tails) + b"\n"
        except BpfError as error:
            reason = str(error)
        if sys.byteorder == "little":
            starts.byteswap()
        if starts and not any(starts):
            starts, offsets, names = array("Q"), array("I"), bytearray()
            reason = _HIDDEN
        elif not starts and not reason:
            reason = f"{self._path} has no functions"
        table = AddressTable(starts, array("I", bytes(4 * len(starts))), offsets, BytesNames(names, b"\n"))
        return table, reason

    @property
    def reason(self) -> str:
        """Why every address is unknown; ``""`` when they are not."""
        return self._read[1]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the table takes."""
        return self._read[0].nbytes

    def _find(self, address: int, inside: int) -> tuple[Symbol, bool]:
        found = self._read[0].find(inside)
        name, _, module = found.name.partition("\t") if found else (UNKNOWN, "", "")
        if found is None or name in _ENDS:
            return Symbol(UNKNOWN, address, "", "", address, 0), True
        return Symbol(name, address - found.start, module[1:-1], "", address, found.start), True
