"""What an ELF file gives for symbolising: where its parts are loaded, and its functions by address."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from pybpf.symbols.addresses import MOST_SIZE, AddressTable, BytesNames, Covering, FileNames, Names
from pybpf.symbols.debugfile import debug_file, mini_debug_info
from pybpf.symbols.elf import FUNC, IFUNC, NOTYPE, ElfFile, Section, Segment

__all__ = ["EMPTY", "Image", "read_image"]

_KINDS = (FUNC, IFUNC, NOTYPE)  # hand-written assembly often gives no type
_PIECE = 1 << 16  # symbols
#: of a table; what comes behind has no names
_MOST_SYMBOLS = 1 << 20
#: larger string tables are left in the file
_MOST_STRINGS = 1 << 22
_BASE_BYTES = 1000


class _Functions(AddressTable):
    """The functions of a symbol table."""

    def name(self, raw: bytes) -> str:
        if raw.startswith(b"$"):  # $x and $d tell disassemblers of Arm code where code and data are
            return ""
        text = super().name(raw)
        return text.partition("@")[0] or text  # memcpy@@GLIBC_2.14


class Image:
    """The functions of one ELF file. It needs the file no more, unless its names are many megabytes."""

    def __init__(self, segments: Sequence[Segment], tables: Sequence[AddressTable]) -> None:
        self._segments = segments
        self._tables = tables
        #: bytes of memory
        self.nbytes = _BASE_BYTES + sum(table.nbytes for table in tables)

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def address_of(self, offset: int) -> int | None:
        """The virtual address of what is at an offset of the file; code first, where it is there twice."""
        found = None
        for segment in self._segments:
            if 0 <= offset - segment.offset < segment.file_size:
                if segment.executable:
                    return offset - segment.offset + segment.address
                found = offset - segment.offset + segment.address
        return found

    def find(self, address: int) -> Covering | None:
        """The function at a virtual address."""
        for table in self._tables:
            found = table.find(address)
            if found is not None:
                return found
        return None


#: of a file that cannot be read
EMPTY = Image((), ())


def read_image(elf: ElfFile, path: str, roots: Sequence[str]) -> Image:
    """The image of an open file, with the symbols of its debug file if it has no static ones itself.

    :param path: of the file as its processes see it, to look for debug files near.
    :param roots: root directories to look for debug files in.
    :raises BpfError: the file is damaged.
    """
    code = [segment for segment in elf.segments if segment.executable]
    if not code or not elf.native:
        return Image(elf.segments, ())
    low = max(min(segment.address for segment in code), 1)
    high = max(segment.address + segment.memory_size for segment in code)
    own = elf.symbol_sections()[:1]
    tables = []
    split = None
    if not own or own[0][0].type != "SHT_SYMTAB":
        split = debug_file(elf, path, roots)
        if split is not None:  # it has what the dynamic table has
            own = []
        else:
            split = mini_debug_info(elf)
    if split is not None:
        with split:
            if split.native and split.bits == elf.bits:
                tables += [_table(split, *sections, low, high) for sections in split.symbol_sections()[:1]]
    tables += [_table(elf, *sections, low, high) for sections in own]
    return Image(elf.segments, [table for table in tables if len(table)])


def _table(elf: ElfFile, symbols: Section, strings: Section, low: int, high: int) -> AddressTable:
    """The functions of a symbol table between two addresses."""
    starts, sizes, offsets = array("Q"), array("I"), array("I")
    for heads, values, lengths in _columns(elf, symbols):
        for head, value, length in zip(heads, values, lengths):
            if (head >> 32 & 15) in _KINDS and head >> 48 and low <= value < high:
                starts.append(value)
                sizes.append(min(length, MOST_SIZE))
                offsets.append(head & 0xFFFFFFFF)
    return _Functions(starts, sizes, offsets, _names(elf, strings))


def _columns(elf: ElfFile, symbols: Section) -> Iterator[tuple[array[int] | list[int], array[int], array[int]]]:
    """Pieces of a symbol table: heads, values and sizes.

    A head is the first 8 bytes of ``Elf64_Sym`` as a number: st_name, st_info (from bit 32), st_other, st_shndx (from
    bit 48). In ``Elf32_Sym`` value and size are between these.
    """
    width, entry = ("Q", 24) if elf.bits == 64 else ("I", 16)
    end = symbols.offset + min(symbols.size, _MOST_SYMBOLS * entry, elf.file_size)
    if symbols.type == "SHT_NOBITS":
        return
    for offset in range(symbols.offset, end, _PIECE * entry):
        data = elf.read(offset, min(_PIECE * entry, end - offset))
        words = array(width)
        words.frombytes(data[: len(data) // entry * entry])
        if not words:
            return
        if elf.bits == 64:
            yield words[0::3], words[1::3], words[2::3]
        else:
            heads = [name | info << 32 for name, info in zip(words[0::4], words[3::4])]
            yield heads, words[1::4], words[2::4]


def _names(elf: ElfFile, strings: Section) -> Names:
    size = min(strings.size, elf.file_size - strings.offset)
    if strings.type == "SHT_NOBITS" or size <= 0:
        return BytesNames(b"")
    if size <= _MOST_STRINGS or elf.in_memory:
        return BytesNames(elf.data(strings))
    return FileNames(elf.path, elf.status, strings.offset, size)
