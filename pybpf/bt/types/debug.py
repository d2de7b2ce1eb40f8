"""Types of a program's debug information as types of the language."""

from __future__ import annotations

from pybpf.bt.types.types import BOOL, Array, Compound, Integer, Member, Nothing, Pointer, String, Type
from pybpf.btf import BitLoad
from pybpf.record import dataclass
from pybpf.symbols.dwarf import DebugMember, DebugType

__all__ = ["DebugCompound", "of_debug"]

#: How deep anonymous structs, pointers to pointers and arrays of arrays may nest.
_MOST_DEPTH = 16


@dataclass(frozen=True, eq=False)
class DebugCompound(Compound):
    """A struct or union of a program."""

    found: DebugType

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DebugCompound) and (other.name, other.size) == (self.name, self.size)

    def __hash__(self) -> int:
        return hash((self.name, self.size))

    @property
    def size(self) -> int:
        return self.found.size

    @property
    def name(self) -> str:
        return f"{self.found.kind} {self.found.name}".rstrip()

    def _flat(self, found: DebugType, start: int = 0, depth: int = 0) -> dict[str, tuple[DebugMember, int]]:
        """Member by name, with where the record that it is in starts; those of anonymous members too."""
        members: dict[str, tuple[DebugMember, int]] = {}
        for each in found.members():
            if each.name:
                members.setdefault(each.name, (each, start))
            elif depth < _MOST_DEPTH and each.type.kind in ("struct", "union"):
                members.update(self._flat(each.type, start + each.offset, depth + 1))
        return members

    def member(self, name: str) -> Member | None:
        known = self._flat(self.found).get(name)
        if known is None:
            return None
        found, start = known
        kind = of_debug(found.type)
        if not found.bits:
            return Member(name, (start + found.offset) // 8, kind)
        size = found.type.size or 8
        first = start + found.offset
        at = first // (8 * size) * size
        left = 64 - (first - 8 * at) - found.bits
        signed = isinstance(kind, Integer) and kind.signed
        return Member(name, at, kind, BitLoad(at, size, left, 64 - found.bits, signed))

    def names(self) -> list[str]:
        return list(self._flat(self.found))


def of_debug(found: DebugType, depth: int = 0) -> Type:
    """A type of a program; what has no meaning here is nothing."""
    if depth > _MOST_DEPTH:
        return Nothing()
    if found.kind == "bool":
        return BOOL
    if found.kind == "int" and found.size in (1, 2, 4, 8):
        return Integer(found.size, found.signed)
    if found.kind == "enum" and found.size in (1, 2, 4, 8):
        names = tuple((value, name) for name, value in found.values())
        return Integer(found.size, found.signed, enum=names, title=f"enum {found.name}".rstrip())
    if found.kind == "pointer":
        return Pointer(of_debug(found.target, depth + 1), "user")
    if found.kind == "array":
        return _array(found, depth)
    return DebugCompound(found) if found.kind in ("struct", "union") and found.size else Nothing()


def _array(found: DebugType, depth: int) -> Type:
    item = of_debug(found.target, depth + 1)
    lengths = found.lengths or [0]
    text = isinstance(item, Integer) and item.width == 1 and found.target.name == "char"
    if text and len(lengths) == 1 and lengths[0]:
        return String(lengths[0])
    for length in reversed(lengths):
        item = Array(item, length)
    return item
