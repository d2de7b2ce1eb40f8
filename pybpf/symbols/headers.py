"""The headers of an ELF file, as elf.h has them: what the file is for, what is mapped where, its sections."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import MappingProxyType

from pybpf.record import NamedTuple

__all__ = ["PT_LOAD", "Class", "Headers", "ProgramHeader", "SectionHeader", "read_headers"]

_IDENT = 16
_MOST = 1 << 16  # headers of a kind
#: these counts are too large for their fields: the first section has them
_MANY_SEGMENTS, _MANY_SECTIONS = 0xFFFF, 0xFFFF
_DAMAGED = "its header tables do not fit into the file"


class Class(NamedTuple):
    """What differs between 32-bit and 64-bit files: struct codes, and which items of them are what.

    :ivar fields: of a symbol: name, value, size, info, section.
    :ivar program_fields: type, offset, address, size in the file, in memory, flags.
    """

    header: str
    program: str
    program_fields: tuple[int, int, int, int, int, int]
    section: str
    symbol: str
    fields: tuple[int, int, int, int, int]


_CLASSES = MappingProxyType({
    32: Class("HHIIIIIHHHHHH", "8I", (0, 1, 2, 4, 5, 6), "10I", "IIIBBH", (0, 1, 2, 3, 5)),
    64: Class("HHIQQQIHHHHHH", "IIQQQQQQ", (0, 2, 3, 5, 6, 1), "IIQQQQIIQQ", "IBBHQQ", (0, 4, 5, 1, 3)),
})  # fmt: skip

#: names of elf.h, of those that something is done with or that messages show
_MACHINES = MappingProxyType({
    3: "EM_386", 8: "EM_MIPS", 20: "EM_PPC", 21: "EM_PPC64", 22: "EM_S390", 40: "EM_ARM", 62: "EM_X86_64",
    183: "EM_AARCH64", 243: "EM_RISCV", 247: "EM_BPF", 258: "EM_LOONGARCH",
})  # fmt: skip
_TYPES = MappingProxyType({0: "ET_NONE", 1: "ET_REL", 2: "ET_EXEC", 3: "ET_DYN", 4: "ET_CORE"})
_SECTION_TYPES = MappingProxyType({
    0: "SHT_NULL", 1: "SHT_PROGBITS", 2: "SHT_SYMTAB", 3: "SHT_STRTAB", 4: "SHT_RELA", 5: "SHT_HASH", 6: "SHT_DYNAMIC",
    7: "SHT_NOTE", 8: "SHT_NOBITS", 9: "SHT_REL", 11: "SHT_DYNSYM", 14: "SHT_INIT_ARRAY", 15: "SHT_FINI_ARRAY",
    0x6FFFFFF6: "SHT_GNU_HASH", 0x6FFFFFFD: "SHT_GNU_verdef", 0x6FFFFFFE: "SHT_GNU_verneed",
    0x6FFFFFFF: "SHT_GNU_versym",
})  # fmt: skip
PT_LOAD = 1


class ProgramHeader(NamedTuple):
    """A segment."""

    type: int
    offset: int
    address: int
    file_size: int
    memory_size: int
    flags: int


class SectionHeader(NamedTuple):
    """A section.

    :ivar type: as elf.h calls it; an unknown type is its number in text.
    """

    name: int  # in the section of names
    type: str
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int


class Headers(NamedTuple):
    """All of them.

    :ivar bits: 32 or 64.
    :ivar endian: ``"<"`` or ``">"``, as for :mod:`struct`.
    :ivar machine: as elf.h calls it, such as ``"EM_X86_64"``; or its number in text.
    :ivar type: ``"ET_EXEC"``, ``"ET_DYN"``, ...
    :ivar names: which section has the names of sections.
    """

    bits: int
    endian: str
    cls: Class
    machine: str
    type: str
    programs: list[ProgramHeader]
    sections: list[SectionHeader]
    names: int


def read_headers(read: Callable[[int, int], bytes], file_size: int) -> Headers:
    """Read them.

    :param read: gives so many bytes from an offset, fewer where the file ends.
    :raises ValueError: the file is damaged.
    """
    ident = read(0, _IDENT)
    if len(ident) < _IDENT or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise ValueError("it says neither how many bits it is for, nor in which order")
    bits, endian = 32 * ident[4], "<" if ident[5] == 1 else ">"
    cls = _CLASSES[bits]
    layout = struct.Struct(endian + cls.header)
    data = read(_IDENT, layout.size)
    if len(data) < layout.size:
        raise ValueError("it ends within its header")
    kind, machine, _, _, programs_at, sections_at, _, _, program_size, programs, section_size, sections, names = (
        layout.unpack(data)
    )

    def table(offset: int, count: int, size: int, code: str) -> list[tuple[int, ...]]:
        item = struct.Struct(endian + code)
        if not count:
            return []
        if size != item.size or count > _MOST or offset + count * size > file_size:
            raise ValueError(_DAMAGED)
        found = read(offset, count * size)
        if len(found) < count * size:
            raise ValueError(_DAMAGED)
        return list(item.iter_unpack(found))

    first = table(sections_at, 1 if sections_at else 0, section_size, cls.section)
    if first:
        sections = sections or first[0][5]
        programs = first[0][7] if programs == _MANY_SEGMENTS else programs
        names = first[0][6] if names == _MANY_SECTIONS else names
    return Headers(
        bits, endian, cls, _MACHINES.get(machine, str(machine)), _TYPES.get(kind, str(kind)),
        [
            ProgramHeader(*(each[index] for index in cls.program_fields))
            for each in table(programs_at, programs, program_size, cls.program)
        ],
        [
            SectionHeader(each[0], _SECTION_TYPES.get(each[1], str(each[1])), *each[2:])
            for each in (table(sections_at, sections, section_size, cls.section) if sections_at else [])
        ],
        names,
    )  # fmt: skip
