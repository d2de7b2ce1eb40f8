"""ELF files: functions by name, addresses, sections and notes; the file may be hostile.

A whole table of symbols is decoded by one ``struct.iter_unpack``: a shared LLVM has more than 100,000.
"""

from __future__ import annotations

import fnmatch
import os
import re
import struct
import sys
from array import array
from collections.abc import Iterator
from functools import cached_property
from types import TracebackType

from pybpf.errors import BpfError, NotFoundError
from pybpf.record import NamedTuple
from pybpf.symbols.files import open_regular, show
from pybpf.symbols.headers import PT_LOAD, read_headers
from pybpf.sys.near import did_you_mean

__all__ = [
    "ELF_MAGIC",
    "FUNC",
    "IFUNC",
    "NOTYPE",
    "OBJECT",
    "ElfFile",
    "ElfSymbol",
    "Note",
    "Section",
    "Segment",
    "plainness",
]

ELF_MAGIC = b"\x7fELF"
# Symbol types, elf.h
NOTYPE, OBJECT, FUNC, IFUNC = 0, 1, 2, 10
_SHN_UNDEF = 0
_NT_GNU_BUILD_ID = 3
_VERSION_HIDDEN = 0x8000
_MOST_SYMBOL_NAME = 1 << 16
_MOST_LISTED = 8  # in a message
_MOST_NAME = 1 << 12  # of a section or a version
#: Names may share their bytes in a string table, but a file whose names are larger than this many of it is refused.
_NAMES_PER_FILE = 4


class ElfSymbol(NamedTuple):
    """A symbol that has an address."""

    name: str  #: with ``@VERSION`` where it is not the default version
    address: int  #: virtual, as in the file
    size: int  #: 0 when the file does not tell
    kind: int  #: STT_* of elf.h: :data:`OBJECT`, :data:`FUNC`, :data:`IFUNC`, ...


class Segment(NamedTuple):
    """A PT_LOAD segment: what is mapped where."""

    offset: int
    address: int
    file_size: int
    memory_size: int
    executable: bool
    writable: bool


class Section(NamedTuple):
    """A section header."""

    name: str
    type: str  #: as elf.h calls it, such as ``"SHT_NOTE"``; an unknown type is its number in text
    address: int
    offset: int
    size: int
    link: int
    align: int


class Note(NamedTuple):
    """One entry of a note section."""

    owner: bytes
    type: int
    data: bytes


class _Table(NamedTuple):
    """A symbol table with its strings and, for dynamic symbols, their version numbers."""

    entries: bytes
    strings: bytes
    versions: array[int] | None


class _Budget:
    """What reading a file may still take, in bytes: names and notes that share their bytes could fill the memory."""

    def __init__(self, elf: ElfFile) -> None:
        self._file = elf.name
        self._left = _NAMES_PER_FILE * elf.file_size + _MOST_SYMBOL_NAME

    def charge(self, size: int) -> None:
        """:raises BpfError: nothing is left."""
        self._left -= size
        if self._left < 0:
            raise _damaged(self._file, "its names or notes overlap")

    def string(self, strings: bytes, start: int, most: int) -> bytes:
        """The name at an offset of a string table; empty when none of at most so many bytes ends there."""
        end = strings.find(b"\0", start, start + most)
        if end < 0:
            self.charge(max(min(most, len(strings) - start), 0))  # what was searched
            return b""
        self.charge(end - start)
        return strings[start:end]


class ElfFile:
    """An open ELF file. Use it in a ``with`` block, or :meth:`close` it.

    :param path: the file.
    :param name: what to call it in messages, where the path is an odd one such as ``/proc/PID/map_files/...``.
    :param in_memory: the path leads nowhere once the file is closed.
    :ivar status: of the file, as by ``os.stat``.
    :ivar bits: 32 or 64.
    :ivar machine: the architecture as elf.h calls it, such as ``"EM_X86_64"``; or its number in text.
    :ivar type: ``"ET_EXEC"``, ``"ET_DYN"``, ...
    :raises NotFoundError: there is no such file.
    :raises BpfError: it is not an ELF file, or a damaged one.
    """

    def __init__(self, path: str, name: str | None = None, *, in_memory: bool = False) -> None:
        self.path = path
        self.in_memory = in_memory
        self.name = show(name or path)
        self._fd = open_regular(path)
        self.status = os.fstat(self._fd.fileno())
        self.file_size = self.status.st_size
        self._budget = _Budget(self)  # of what is kept; each pass over symbols or notes has its own
        try:
            self._read_headers()
        except BpfError:
            self.close()
            raise

    def _damaged(self, why: str) -> BpfError:
        return _damaged(self.name, why)

    def _read_headers(self) -> None:
        if self.read(0, len(ELF_MAGIC)) != ELF_MAGIC:
            raise self._damaged("it does not begin with the ELF magic number")
        try:
            found = read_headers(self.read, self.file_size)
        except ValueError as error:
            raise self._damaged(str(error)) from None
        self.bits = found.bits
        self.machine = found.machine
        self.type = found.type
        self._endian = found.endian
        self._class = found.cls
        self.segments = [
            Segment(*each[1:5], bool(each.flags & 1), bool(each.flags & 2))
            for each in found.programs
            if each.type == PT_LOAD
        ]
        names = b""
        if found.names < len(found.sections):
            names = self.read(found.sections[found.names].offset, found.sections[found.names].size)
        self.sections = [
            Section(
                _text(self._budget.string(names, each.name, _MOST_NAME)),
                each.type, each.address, each.offset, each.size, each.link, each.align,
            )
            for each in found.sections
        ]  # fmt: skip

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file, fewer where it ends. :raises BpfError: it cannot be read."""
        size = min(size, self.file_size - offset)
        if offset < 0 or size <= 0:
            return b""
        try:
            return os.pread(self._fd.fileno(), size, offset)
        except OSError as error:
            raise self._damaged(os.strerror(error.errno or 0)) from None

    def section(self, name: str) -> Section | None:
        """The section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def data(self, section: Section) -> bytes:
        """What a section has in the file, as it is there (possibly compressed)."""
        return b"" if section.type == "SHT_NOBITS" else self.read(section.offset, section.size)

    def file_offset(self, address: int, *, executable: bool = False) -> int | None:
        """Where in the file the byte at a virtual address is; None when no segment loads it from inside the file.

        :param executable: look in executable segments only.
        """
        for segment in self.segments:
            if executable and not segment.executable:
                continue
            if 0 <= address - segment.address < segment.file_size:
                offset = address - segment.address + segment.offset
                return offset if offset < self.file_size else None
        return None

    def notes(self, section: Section) -> Iterator[Note]:
        """The entries of a note section; ends at the first damaged one."""
        data = self.data(section)
        align = 8 if section.align == 8 else 4
        head = struct.Struct(self._endian + "III")
        at = 0
        while at + head.size <= len(data):
            owner_size, size, kind = head.unpack_from(data, at)
            owner_at = at + head.size
            data_at = owner_at + _round_up(owner_size, align)
            if data_at + size > len(data):
                return
            yield Note(data[owner_at : owner_at + owner_size].rstrip(b"\0"), kind, data[data_at : data_at + size])
            at = data_at + _round_up(size, align)

    @cached_property
    def build_id(self) -> str | None:
        """The build id in hexadecimal digits; None when the file has none. :raises BpfError: too many notes overlap."""
        budget = _Budget(self)
        for section in self.sections:
            if section.type == "SHT_NOTE":
                budget.charge(min(section.size, self.file_size))
                for note in self.notes(section):
                    if note.owner == b"GNU" and note.type == _NT_GNU_BUILD_ID:
                        return note.data.hex()
        return None

    @cached_property
    def _tables(self) -> list[_Table]:
        """The static symbol table, which has more, before the dynamic one."""
        size = struct.calcsize(self._endian + self._class.symbol)
        tables = []
        for section, names in self.symbol_sections():
            entries = self.data(section)
            versions = self._versions(section) if section.type == "SHT_DYNSYM" else None
            tables.append(_Table(entries[: len(entries) // size * size], self.data(names), versions))
        return tables

    def symbol_sections(self) -> list[tuple[Section, Section]]:
        """The symbol tables, each with its string table; the static one before the dynamic one."""
        found = [self._first(kind) for kind in ("SHT_SYMTAB", "SHT_DYNSYM")]  # a file has one of each
        return [
            (section, self.sections[section.link])
            for section in found
            if section is not None and section.link < len(self.sections)
        ]

    @property
    def native(self) -> bool:
        """Whether its byte order is that of this machine."""
        return (self._endian == "<") == (sys.byteorder == "little")

    def _first(self, kind: str) -> Section | None:
        return next((section for section in self.sections if section.type == kind), None)

    def _versions(self, symbols: Section) -> array[int] | None:
        for section in self.sections:
            if section.type == "SHT_GNU_versym" and self.sections[section.link : section.link + 1] == [symbols]:
                data = self.data(section)
                return self._array("H", data)
        return None

    def _array(self, code: str, data: bytes) -> array[int]:
        numbers = array(code)
        numbers.frombytes(data[: len(data) // numbers.itemsize * numbers.itemsize])
        if not self.native:
            numbers.byteswap()
        return numbers

    @cached_property
    def _version_names(self) -> dict[int, str]:
        """version number -> name, of the versions that the file defines."""
        section = self._first("SHT_GNU_verdef")
        if section is None or section.link >= len(self.sections):
            return {}
        data, strings = self.data(section), self.data(self.sections[section.link])
        entry, name = struct.Struct(self._endian + "4xHHIII"), struct.Struct(self._endian + "I")
        names: dict[int, str] = {}
        at = 0
        for _ in range(len(data) // entry.size):
            if at + entry.size > len(data):
                break
            index, _, _, first, step = entry.unpack_from(data, at)
            if at + first + name.size <= len(data):
                start = name.unpack_from(data, at + first)[0]
                names[index] = _text(self._budget.string(strings, start, _MOST_NAME))
            if not step:
                break
            at += step
        return names

    def symbols(self, kinds: tuple[int, ...] = (FUNC,), match: re.Pattern[bytes] | None = None) -> Iterator[ElfSymbol]:
        """Every defined symbol of the given kinds, of both tables; names and addresses can come more than once.

        :param match: only symbols whose name (without version) it matches.
        :raises BpfError: the names are far larger than the file.
        """
        budget = _Budget(self)
        for table in self._tables:
            yield from self._symbols(table, kinds, match, budget)

    def _symbols(
        self, table: _Table, kinds: tuple[int, ...], match: re.Pattern[bytes] | None, budget: _Budget
    ) -> Iterator[ElfSymbol]:
        name_at, value_at, size_at, info_at, section_at = self._class.fields
        strings, versions = table.strings, table.versions
        for index, entry in enumerate(struct.iter_unpack(self._endian + self._class.symbol, table.entries)):
            kind = entry[info_at] & 15
            if kind not in kinds or entry[section_at] == _SHN_UNDEF:
                continue
            name = budget.string(strings, entry[name_at], _MOST_SYMBOL_NAME)
            if name and (match is None or match.match(name)):
                text = name.decode("utf-8", "surrogateescape")
                if versions is not None and index < len(versions) and versions[index] & _VERSION_HIDDEN:
                    version = self._version_names.get(versions[index] & ~_VERSION_HIDDEN, "?")
                    budget.charge(len(version))
                    text += "@" + version
                yield ElfSymbol(text, entry[value_at], entry[size_at], kind)

    def functions(self, pattern: str = "*") -> list[ElfSymbol]:
        """The functions whose name matches a shell pattern (``*``, ``?``, ``[...]``), sorted by name.

        Of several names for one address the plainest is given. Indirect functions, whose symbol is the address of
        their resolver, are left out.
        """
        match = None if pattern == "*" else re.compile(_glob(pattern))
        found: dict[int, ElfSymbol] = {}
        for symbol in self.symbols((FUNC,), match):
            other = found.get(symbol.address)
            if other is None or plainness(symbol.name) < plainness(other.name):
                found[symbol.address] = symbol
        loaded = [symbol for symbol in found.values() if self.file_offset(symbol.address, executable=True) is not None]
        return sorted(loaded)

    def symbol(self, name: str, kinds: tuple[int, ...] = (FUNC, IFUNC)) -> ElfSymbol | None:
        """The symbol of that name, in the default version if there are several, or in that of ``name@VERSION``.

        Of several different ones (see :meth:`symbols_named`) the first.
        """
        return next(iter(self.symbols_named(name, kinds)), None)

    def symbols_named(self, name: str, kinds: tuple[int, ...] = (FUNC, IFUNC)) -> list[ElfSymbol]:
        """The symbols of that name, one for each address: each object file can have a static function of the name.

        A default version hides the others.
        """
        base, _, version = name.partition("@")
        version = version.lstrip("@")
        for table in self._tables:
            found = [symbol for symbol, _ in self._named(table, name, kinds)]
            exact = [symbol for symbol in found if symbol.name == name]
            if version:
                found += [symbol for symbol, its in self._named(table, base, kinds) if its == version]
            if found:
                return list({symbol.address: symbol for symbol in exact or found}.values())
        return []

    def _named(self, table: _Table, name: str, kinds: tuple[int, ...]) -> Iterator[tuple[ElfSymbol, str]]:
        """The entries with a name, and their version; found through the string table, which is fast."""
        wanted = name.encode("utf-8", "surrogateescape") + b"\0"
        offsets = {found.start() for found in re.finditer(re.escape(wanted), table.strings)}
        if not offsets:
            return
        budget = _Budget(self)
        size = struct.calcsize(self._endian + self._class.symbol)
        for index, offset in enumerate(self._array("I", table.entries)[:: size // 4]):
            if offset in offsets:
                entries = table.entries[index * size : (index + 1) * size]
                versions = table.versions[index : index + 1] if table.versions is not None else None
                version = self._version_names.get(versions[0] & ~_VERSION_HIDDEN, "") if versions else ""
                for symbol in self._symbols(_Table(entries, table.strings, versions), kinds, None, budget):
                    yield symbol, version

    def function(self, name: str) -> ElfSymbol:
        """The function of that name.

        :raises NotFoundError: there is none; the message says what comes close.
        :raises BpfError: there are several of that name; or it is an indirect function (IFUNC), whose address only
            its resolver knows.
        """
        named = self.symbols_named(name)
        if not named:
            if not any(table.entries for table in self._tables):
                raise NotFoundError(
                    f"there is no function {show(name)} in {self.name}: the file has no symbols; "
                    "install its debug symbols, or give an address"
                )
            close = did_you_mean(name, (show(symbol.name) for symbol in self.symbols()))
            raise NotFoundError(f"there is no function {show(name)} in {self.name}{close}")
        if len(named) > 1:
            raise self._ambiguous(name, named)
        found = named[0]
        if found.kind == IFUNC:
            raise BpfError(
                f"cannot probe {show(name)} in {self.name}: it is an indirect function (IFUNC), for which the loader "
                "chooses one of several implementations; probe those, which the debug symbols name"
            )
        return found

    def _ambiguous(self, name: str, named: list[ElfSymbol]) -> BpfError:
        places = [f"{show(symbol.name)} at {symbol.address:#x}" for symbol in named[:_MOST_LISTED]]
        places += [f"{len(named) - len(places)} more"] if len(named) > len(places) else []
        return BpfError(
            f"cannot probe {show(name)} in {self.name}: {len(named)} functions have that name ({', '.join(places)}); "
            f"give the address of the one that is meant, or for all of them a pattern, {show(name[:-1])}[{name[-1]}]"
        )

    def close(self) -> None:
        """Close the file; what was read already stays usable."""
        self._fd.close()

    def __enter__(self) -> ElfFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ElfFile {self.name}>"


def _damaged(file: str, why: str) -> BpfError:
    return BpfError(f"cannot read {file} as an ELF file: {why}")


def _round_up(size: int, align: int) -> int:
    return (size + align - 1) & -align


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _glob(pattern: str) -> bytes:
    return fnmatch.translate(pattern).encode("utf-8", "surrogateescape")


def plainness(name: str) -> tuple[bool, int, int, str]:
    """Sorts ``malloc`` before ``__libc_malloc`` and ``malloc@GLIBC_2.0``."""
    return "@" in name, len(name) - len(name.lstrip("_")), len(name), name
