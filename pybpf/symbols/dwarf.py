"""Debug information (DWARF) through pyelftools: parameters of functions and their types, addresses of source lines.

Everything in a file may be damaged or hostile: whatever pyelftools raises becomes :class:`~pybpf.errors.BpfError`.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pybpf.errors import BpfError, NotFoundError, UnsupportedError
from pybpf.record import NamedTuple
from pybpf.symbols.debugfile import debug_file
from pybpf.symbols.elf import ElfFile

__all__ = ["DebugInfo", "DebugMember", "DebugType", "Parameter"]

#: How many types lead from one to what it is: a chain that is longer is damaged.
_MOST_STEPS = 32
_INFO = ".debug_info"
_QUALIFIERS = frozenset({
    "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_typedef", "DW_TAG_atomic_type",
})  # fmt: skip
_COMPOUND = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union", "DW_TAG_class_type": "struct"}
_POINTERS = frozenset({"DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type"})
#: DW_ATE_boolean, _float, _signed, _signed_char, of base types
_BOOLEAN, _FLOAT, _SIGNED, _SIGNED_CHAR = 2, 4, 5, 6


class DebugMember(NamedTuple):
    """A member of a struct or union."""

    name: str  #: ``""`` of an anonymous one
    type: DebugType
    offset: int  #: bits
    bits: int  #: of a bit-field, otherwise 0


class DebugType:
    """A type; qualifiers and typedefs have been followed.

    :ivar kind: ``"int"``, ``"bool"``, ``"float"``, ``"pointer"``, ``"array"``, ``"struct"``, ``"union"``, ``"enum"``,
        ``"void"`` or ``"other"``.
    :ivar name: of the type itself, or ``""``.
    :ivar size: bytes.
    :ivar signed: of an integer or enumeration.
    """

    def __init__(self, die: Any) -> None:
        self._die = die = _followed(die)
        tag = "" if die is None else die.tag
        self.name = "" if die is None else _name(die)
        self.size = 0 if die is None else int(_value(die, "DW_AT_byte_size") or 0)
        self.signed = False
        self.kind = "void" if die is None else _COMPOUND.get(tag, "other")
        if tag == "DW_TAG_base_type":
            encoding = _value(die, "DW_AT_encoding")
            self.kind = {_BOOLEAN: "bool", _FLOAT: "float"}.get(encoding, "int")
            self.signed = encoding in (_SIGNED, _SIGNED_CHAR)
        elif tag in _POINTERS:
            self.kind, self.size = "pointer", self.size or 8
        elif tag == "DW_TAG_array_type":
            self.kind = "array"
        elif tag == "DW_TAG_enumeration_type":
            self.kind = "enum"
            self.signed = any(value < 0 for _, value in self.values())

    @property
    def target(self) -> DebugType:
        """What a pointer points to, or what an array is of."""
        return DebugType(_type_of(self._die))

    @property
    def lengths(self) -> list[int]:
        """Of an array: how many items there are in each dimension; 0 where that is not known."""
        found = []
        for each in self._die.iter_children():
            if each.tag == "DW_TAG_subrange_type":
                upper, count = _value(each, "DW_AT_upper_bound"), _value(each, "DW_AT_count")
                found.append(count if isinstance(count, int) else upper + 1 if isinstance(upper, int) else 0)
        return found

    def members(self) -> Iterator[DebugMember]:
        """The members of a struct or union."""
        for each in self._die.iter_children():
            if each.tag != "DW_TAG_member":
                continue
            bits = int(_value(each, "DW_AT_bit_size") or 0)
            start = _value(each, "DW_AT_data_bit_offset")
            if not isinstance(start, int):
                start = 8 * int(_value(each, "DW_AT_data_member_location") or 0)
            yield DebugMember(_name(each), DebugType(_type_of(each)), start, bits)

    def values(self) -> Iterator[tuple[str, int]]:
        """The names and values of an enumeration."""
        for each in self._die.iter_children():
            value = _value(each, "DW_AT_const_value")
            if each.tag == "DW_TAG_enumerator" and isinstance(value, int):
                yield _name(each), value

    @property
    def key(self) -> int:
        """Equal for the same type of one file."""
        return -1 if self._die is None else int(self._die.offset)


class Parameter(NamedTuple):
    """A parameter of a function."""

    name: str
    type: DebugType


class DebugInfo:
    """The debug information of a program or library.

    :param path: the program or library; the information may be in a file of its own.
    :raises NotFoundError: there is none.
    :raises BpfError: it is damaged.
    :raises UnsupportedError: pyelftools is not installed.
    """

    def __init__(self, path: str) -> None:
        try:
            from elftools.elf.elffile import ELFFile
        except ImportError:
            advice = "pip install pyelftools, or apt-get install python3-pyelftools"
            cause = "that takes pyelftools, which is not installed"
            raise UnsupportedError(f"read the debug information of {path}", errno.ENOSYS, cause, advice) from None

        self.path = path
        with ElfFile(path) as elf:
            found = path
            if elf.section(_INFO) is None:
                found = _separate(elf, path)
        with self._damage(), open(found, "rb") as file:
            # types are read when somebody asks for them: the memory lives as long as any of them
            memory: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._dwarf = ELFFile(memory).get_dwarf_info()

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (BpfError, OSError):
            raise
        except Exception as error:  # pyelftools lets many kinds out of a damaged file
            raise BpfError(f"the debug information of {self.path} cannot be read: {error}") from None

    def parameters(self, function: str, address: int | None = None) -> list[Parameter]:
        """The parameters of a function.

        :param address: of the function, which makes finding it fast.
        :raises NotFoundError: it is not described.
        """
        with self._damage():
            die = self._function(function, address)
            if die is None:
                raise NotFoundError(f"the debug information of {self.path} does not know the function {function}")
            children = [each for each in die.iter_children() if each.tag == "DW_TAG_formal_parameter"]
            return [Parameter(_name(each), DebugType(_type_of(each))) for each in children]

    def type_named(self, name: str) -> DebugType | None:
        """The structure, union or typedef of this name, if one is described whole.

        :raises BpfError: the information is damaged.
        """
        with self._damage():
            for unit in self._dwarf.iter_CUs():
                for die in unit.get_top_DIE().iter_children():
                    if (die.tag in _COMPOUND or die.tag == "DW_TAG_typedef") and _name(die) == name:
                        found = DebugType(die)
                        if found.size and found.kind in ("struct", "union"):
                            return found
        return None

    def _function(self, name: str, address: int | None) -> Any:
        units = self._units(address)
        for unit in units:
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_subprogram" and _declared(die, name):
                    return die
        return None

    def _units(self, address: int | None) -> Iterator[Any]:
        """The units of compilation; the one that an address is in alone, where that is known."""
        ranges = self._dwarf.get_aranges()
        offset = None if ranges is None or address is None else ranges.cu_offset_at_addr(address)
        if offset is not None:
            yield self._dwarf.get_CU_at(offset)
            return
        yield from self._dwarf.iter_CUs()

    def addresses(self, source: str, line: int, column: int = 0) -> list[int]:
        """Where the code of a line of source begins; ``source`` is the file's name or the end of its path.

        :raises NotFoundError: the line has no code.
        """
        found: list[int] = []
        with self._damage():
            for unit in self._dwarf.iter_CUs():
                program = self._dwarf.line_program_for_CU(unit)
                if program is not None:
                    found += _places(program, source, line, column)
        if not found:
            at = f"{line}:{column}" if column else str(line)
            raise NotFoundError(f"no code of {self.path} comes from {source}:{at}")
        return sorted(set(found))


def _separate(elf: ElfFile, path: str) -> str:
    """The path of the file with the debug information of another one. :raises NotFoundError: there is none."""
    found = debug_file(elf, path, ["/"])
    if found is not None:
        with found:
            if found.section(_INFO) is not None:
                return found.path
    raise NotFoundError(f"{path} has no debug information: compile it with -g, or install that")


def _places(program: Any, source: str, line: int, column: int) -> Iterator[int]:
    """The first address of each run of instructions of a line."""
    files = program["file_entry"]
    first = 0 if program["version"] >= 5 else 1
    numbers = {index + first for index, each in enumerate(files) if _is_source(each.name, source)}
    before = False
    for entry in program.get_entries() if numbers else ():
        state = entry.state
        if state is None:
            continue
        here = state.file in numbers and state.line == line and (not column or state.column == column)
        if here and not before and state.is_stmt and not state.end_sequence:
            yield state.address
        before = here


def _is_source(name: bytes, source: str) -> bool:
    text = os.fsdecode(name)
    return text == source or text.endswith(f"/{source}") or os.path.basename(source) == text


def _declared(die: Any, name: str) -> bool:
    """Whether a function is called so, by the linker or in the source."""
    linkage = _value(die, "DW_AT_linkage_name")
    if isinstance(linkage, bytes):
        return os.fsdecode(linkage) == name
    if _name(die) == name:
        return "DW_AT_declaration" not in die.attributes
    origin = "DW_AT_specification" if "DW_AT_specification" in die.attributes else "DW_AT_abstract_origin"
    return origin in die.attributes and _declared(die.get_DIE_from_attribute(origin), name)


def _name(die: Any) -> str:
    value = _value(die, "DW_AT_name")
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if "DW_AT_abstract_origin" in die.attributes:
        return _name(die.get_DIE_from_attribute("DW_AT_abstract_origin"))
    return ""


def _value(die: Any, name: str) -> Any:
    found = die.attributes.get(name)
    return None if found is None else found.value


def _type_of(die: Any) -> Any:
    for _ in range(_MOST_STEPS):
        if "DW_AT_type" in die.attributes:
            return die.get_DIE_from_attribute("DW_AT_type")
        if "DW_AT_abstract_origin" not in die.attributes:
            return None
        die = die.get_DIE_from_attribute("DW_AT_abstract_origin")
    return None


def _followed(die: Any) -> Any:
    for _ in range(_MOST_STEPS):
        if die is None or die.tag not in _QUALIFIERS:
            return die
        die = _type_of(die)
    return None
