"""Small ELF files made by hand, with exactly the tables that a test wants, and programs in machine code that run."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

CODE, DATA = 0x1000, 0x2000  # offsets in the file; the addresses are BASE higher
BASE = 0x400000
FUNC, OBJECT, IFUNC, NOTYPE = 2, 1, 10, 0
MACHINES = {"x86_64": 62, "aarch64": 183}
PROGBITS, SYMTAB, STRTAB, NOTE, DYNSYM, VERDEF, VERSYM = 1, 2, 3, 7, 11, 0x6FFFFFFD, 0x6FFFFFFF


@dataclass
class Sym:
    """A symbol; ``section`` 0 makes it undefined."""

    name: str
    address: int = BASE + CODE
    size: int = 0
    kind: int = FUNC
    section: int = 1
    version: int = 1


@dataclass
class Elf:
    """What goes into the file; :meth:`bytes` puts it together."""

    code: bytes = b"\xc3" * 64
    data: bytes = b""
    symbols: Sequence[Sym] = ()
    dynamic: Sequence[Sym] = ()
    versions: Sequence[str] = ()  # of versions 1, 2, ...
    notes: bytes = b""
    base: int = 0  # address of .stapsdt.base; 0: no such section
    machine: str = os.uname().machine
    type: int = 2
    sections: list[tuple[str, int, int, int, bytes, int, int]] = field(default_factory=list)

    def add(self, name: str, kind: int, data: bytes, link: int = 0, address: int = 0, align: int = 1) -> int:
        """Append a section; returns its index (0 is the empty one)."""
        self.sections.append((name, kind, address, link, data, 0, align))
        return len(self.sections)

    def bytes(self) -> bytes:
        self.sections.clear()
        self.add(".text", PROGBITS, self.code, address=BASE + CODE)
        if self.base:
            self.add(".stapsdt.base", PROGBITS, b"\0", address=self.base)
        if self.notes:
            self.add(".note.stapsdt", NOTE, self.notes, align=4)
        if self.symbols:
            self._table(".symtab", SYMTAB, ".strtab", self.symbols)
        if self.dynamic:
            table = self._table(".dynsym", DYNSYM, ".dynstr", self.dynamic)
            if self.versions:
                numbers = [0, *(symbol.version for symbol in self.dynamic)]
                self.add(".gnu.version", VERSYM, struct.pack(f"<{len(numbers)}H", *numbers), link=table)
                strings, definitions = b"\0", b""
                for index, name in enumerate(self.versions, 1):
                    step = 0 if index == len(self.versions) else 28
                    definitions += struct.pack("<HHHHIII", 1, 0, index, 1, 0, 20, step)
                    definitions += struct.pack("<II", len(strings), 0)
                    strings += name.encode() + b"\0"
                self.add(".gnu.version_d", VERDEF, definitions, link=len(self.sections) + 2)
                self.add(".verstr", STRTAB, strings)
        return self._layout()

    def _table(self, name: str, kind: int, strings_name: str, symbols: Sequence[Sym]) -> int:
        strings, entries = b"\0", bytes(24)
        for symbol in symbols:
            offset = len(strings)
            strings += symbol.name.encode() + b"\0"
            entries += struct.pack(
                "<IBBHQQ", offset, 0x10 | symbol.kind, 0, symbol.section, symbol.address, symbol.size
            )
        index = self.add(name, kind, entries, link=len(self.sections) + 2)
        self.add(strings_name, STRTAB, strings)
        return index

    def _layout(self) -> bytes:
        names = b"\0"
        self.add(".shstrtab", STRTAB, b"")
        body = bytearray((DATA if self.data else CODE) + len(self.data or self.code))
        body[CODE : CODE + len(self.code)] = self.code
        if self.data:
            body[DATA : DATA + len(self.data)] = self.data
        headers = bytes(64)
        for name, kind, address, link, data, _, align in self.sections:
            name_at = len(names)
            names += name.encode() + b"\0"
            if name == ".shstrtab":
                data = names
            at = CODE if name == ".text" else len(body)
            headers += struct.pack("<IIQQQQIIQQ", name_at, kind, 0, address, at, len(data), link, 0, align, 0)
            if name != ".text":
                body += data
        programs = struct.pack(
            "<IIQQQQQQ", 1, 5, 0, BASE, BASE, CODE + len(self.code), CODE + len(self.code), 0x1000
        )
        if self.data:
            programs += struct.pack(
                "<IIQQQQQQ", 1, 6, DATA, BASE + DATA, BASE + DATA, len(self.data), len(self.data), 0x1000
            )
        count = len(self.sections) + 1
        body[:64] = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack(
            "<HHIQQQIHHHHHH",
            self.type, MACHINES.get(self.machine, 8), 1, BASE + CODE, 64, len(body), 0, 64, 56, len(programs) // 56,
            64, count, count - 1,
        )  # fmt: skip
        body[64 : 64 + len(programs)] = programs
        return bytes(body) + headers

    def write(self, path: Path) -> str:
        path.write_bytes(self.bytes())
        path.chmod(0o755)
        return str(path)


class Header(NamedTuple):
    """A section header over a part of :func:`hostile`'s blob."""

    kind: int
    start: int = 0
    size: int = 0
    link: int = 0
    name: int = 0  # where it starts in section 1


def hostile(blob: bytes, headers: Sequence[Header], code: bytes = b"\xc3" * 64) -> bytes:
    """A file whose sections may share bytes; they are numbered from 1, and the first has their names."""
    body = bytearray(Elf(code=code).bytes())
    at = len(body)
    table = bytes(64)
    for header in headers:
        table += struct.pack("<IIQQQQIIQQ", header.name, header.kind, 0, 0, at + header.start, header.size,
                             header.link, 0, 1, 0)  # fmt: skip
    struct.pack_into("<Q", body, 40, at + len(blob))
    struct.pack_into("<HH", body, 60, len(headers) + 1, 1)
    return bytes(body) + blob + table


def symbol_table(name: int, count: int) -> bytes:
    """So many functions of one name, at successive bytes of the code."""
    return bytes(24) + b"".join(struct.pack("<IBBHQQ", name, 0x12, 0, 1, BASE + CODE + i, 1) for i in range(count))


def usdt_note(
    probe: str, address: int, args: str = "", semaphore: int = 0, base: int = 0, owner: bytes = b"stapsdt\0"
) -> bytes:
    """One entry of ``.note.stapsdt``."""
    provider, _, name = probe.partition(":")
    desc = struct.pack("<QQQ", address, base, semaphore)
    desc += b"".join(text.encode() + b"\0" for text in (provider, name, args))
    pad = -len(desc) % 4
    return struct.pack("<III", len(owner), len(desc), 3) + owner + desc + bytes(pad)
