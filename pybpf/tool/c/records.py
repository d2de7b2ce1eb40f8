"""Structures of a program, by its debug information: members of what a pointer leads to, as text of Python."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from pybpf.errors import BpfError
from pybpf.tool.c.types import CType

if TYPE_CHECKING:
    from pybpf.symbols.dwarf import DebugInfo, DebugType

__all__ = ["Records", "Typed"]

#: how deep anonymous structures may nest
_MOST_DEPTH = 16


class Typed(str):
    """Python for an address in the process: of a structure or an array, or the value of a pointer to one.

    :ivar type: of what is there; ``"void"``: not known.
    """

    type: DebugType

    @staticmethod
    def of(code: str, found: DebugType) -> Typed:
        """Such a text."""
        made = Typed(code)
        made.type = found
        return made

    def member(self, name: str) -> str:
        """A member of the structure. :raises BpfError: there is none; says which there are."""
        known = dict(_members(self.type))
        if name not in known:
            from pybpf.sys.near import did_you_mean

            what = f"{self.type.kind} {self.type.name}".rstrip()
            raise BpfError(f"{what} has no member {name!r}{did_you_mean(name, known)}")
        bits, width, found = known[name]
        if width:
            at, first = divmod(bits, 8 * found.size)
            return _bit_field(f"({self} + {at * found.size})", first, width, found)
        return _value(f"({self} + {bits // 8})", found)

    def item(self, index: str) -> str:
        """What is so many items on. :raises BpfError: their size is not known."""
        found = self.type.target if self.type.kind == "array" else self.type
        if not found.size and found.kind != "array":
            raise BpfError("what it points to has no size")
        return _value(f"({self} + ({index}) * {_size(found)})", found)


def _size(found: DebugType) -> int:
    if found.kind != "array":
        return found.size
    size = _size(found.target)
    for length in found.lengths:
        size *= length
    return size


def _members(found: DebugType, start: int = 0, depth: int = 0) -> list[tuple[str, tuple[int, int, DebugType]]]:
    """(name, (first bit, bits of a bit-field or 0, type)); members of anonymous ones as if they were its own."""
    result = []
    for each in found.members():
        if each.name:
            result.append((each.name, (start + each.offset, each.bits, each.type)))
        elif depth < _MOST_DEPTH and each.type.kind in ("struct", "union"):
            result += _members(each.type, start + each.offset, depth + 1)
    return result


def _value(address: str, found: DebugType) -> str:
    """What is at an address."""
    if found.kind in ("struct", "union", "array"):
        return Typed.of(address, found)
    if found.kind == "pointer":
        return Typed.of(f"_read_user({address}, u64)", found.target)
    return f"_read_user({address}, {_integer(found)})"


def _integer(found: DebugType) -> str:
    if found.kind not in ("int", "bool", "enum") or found.size not in (1, 2, 4, 8):
        raise BpfError(f"a value of type {found.name or found.kind} cannot be taken: integers and pointers can")
    return f"{'s' if found.signed else 'u'}{8 * found.size}"


def _bit_field(address: str, first: int, width: int, found: DebugType) -> str:
    unsigned = _integer(found).replace("s", "u")
    value = f"(_read_user({address}, {unsigned}) >> {first} & {(1 << width) - 1})"
    return f"(({value} ^ {1 << width - 1}) - {1 << width - 1})" if found.signed else value


class Records:
    """The types of a program, as expressions name them.

    :param binary: a program or library.
    """

    def __init__(self, binary: str) -> None:
        self._binary = binary

    @cached_property
    def _info(self) -> DebugInfo | None:
        from pybpf.symbols import find_binary
        from pybpf.symbols.dwarf import DebugInfo

        try:
            return DebugInfo(find_binary(self._binary).path)
        except BpfError:
            return None

    def find(self, kind: CType) -> DebugType | None:
        """What a type is in the program; None: it says nothing of it, and the kernel's may be meant."""
        if kind.integer or self._info is None:
            return None
        name = re.sub(r"^(struct|union|enum) ", "", kind.name)
        return self._info.type_named(name)

    def pointer(self, kind: CType, code: str) -> str:
        """A value that is a pointer to such a type; the same text where the program does not know the type."""
        found = self.find(kind) if kind.pointers == 1 else None
        return code if found is None else Typed.of(f"u64({code})", found)
