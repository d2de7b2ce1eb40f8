"""Members of structs by path: where they lie, through anonymous members, arrays, pointers and bitfields."""

from __future__ import annotations

from pybpf.btf import kinds
from pybpf.btf.kinds import Kind
from pybpf.btf.reader import Types
from pybpf.errors import BtfError
from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = ["BitLoad", "Hop", "Member", "bit_load", "find_field", "member"]

_MAX_INDEX = 1 << 32
_COMPOUND = (Kind.STRUCT, Kind.UNION)
_FIRST = regex(r"([A-Za-z_]\w*)()")
_STEP = regex(r"(?:\.|->)([A-Za-z_]\w*)|\[([0-9]+)\]")


class Hop(NamedTuple):
    """A pointer on the way to a member: it is loaded from ``offset``, and the way goes on at what it points to."""

    offset: int  #: bytes from the struct's start, or from where the hop before led
    type: int  #: what it points to, typedefs and qualifiers stripped


class Member(NamedTuple):
    """Where a member of a struct lies."""

    path: str
    type: int  #: its declared type; not resolved
    offset_bits: int  #: from the struct's start, or from where the last hop leads
    bits: int  #: width of a bitfield; 0: it is none
    size: int  #: bytes of its type; 0 for a flexible array, a function or an undefined struct
    signed: bool  #: it is a signed number
    hops: tuple[Hop, ...]  #: the pointers that are followed, in order

    @property
    def offset(self) -> int:
        """``offset_bits`` in bytes, rounded down."""
        return self.offset_bits // 8


class BitLoad(NamedTuple):
    """How a machine reads a bitfield: load ``size`` bytes at ``offset`` into 64 bits, shift left, shift right.

    The right shift is arithmetic if ``signed``.
    """

    offset: int
    size: int
    left: int
    right: int
    signed: bool


def bit_load(member: Member, endian: str) -> BitLoad:
    """How to read a bitfield with one aligned load; reads no byte beyond the aligned unit that holds it.

    :raises BtfError: it is no bitfield, or (in a packed struct) no aligned load covers it.
    """
    if not member.bits:
        raise BtfError(f"{member.path!r} is not a bitfield")
    for size in (1, 2, 4, 8):
        unit = 8 * size
        inside = member.offset_bits % unit
        if size >= member.size and inside + member.bits <= unit:
            left = 64 - inside - member.bits if endian == "little" else 64 - unit + inside
            return BitLoad(member.offset_bits // unit * size, size, left, 64 - member.bits, member.signed)
    raise BtfError(f"bitfield {member.path!r} lies across the bounds of 8 bytes, so that no single load reads it")


def find_field(types: Types, struct_id: int, name: str) -> kinds.Field | None:
    """The member of a struct or union with a name, anonymous ones searched too; None if there is none.

    :param struct_id: resolved.
    :return: with the offset in bits from the start of ``struct_id``.
    :raises BtfError: the type information is malformed.
    """
    # Each type is searched once: a second time, or inside of itself, it would have no other names.
    seen, queue = {struct_id}, [(struct_id, 0)]
    for outer, base in queue:
        kind = types.type(outer)
        assert isinstance(kind, (kinds.Struct, kinds.Union))
        for field in kind.members:
            if field.name == name:
                return field._replace(offset=base + field.offset)
            if not field.name:
                inner = types.resolve(field.type)
                if inner not in seen and types.kind(inner) in _COMPOUND:
                    seen.add(inner)
                    queue.append((inner, base + field.offset))
    return None


def member(types: Types, struct: int | str, path: str) -> Member:
    """Find a member by its path, such as ``"mm->pgd"``, ``"comm[3]"``, ``"__sk_common.skc_dport"``.

    ``.`` goes through pointers as ``->`` does; so does an index. The length of an array bounds its index, except
    for a flexible array.

    :param struct: a struct or union (or a typedef of one), by id or by name.
    :raises BtfError: there is no such member; the message says what there is.
    """
    start = types.resolve(types.id_of(struct))
    if types.kind(start) not in _COMPOUND:
        raise BtfError(f"cannot find {path!r}: type {start} is a {types.kind(start).name}, not a struct or union")
    way = _Way(types, start, path)
    for name, index in _steps(path):
        if name:
            way.enter(name)
        else:
            way.index(index)
    return way.member()


def _steps(path: str) -> list[tuple[str, int]]:
    """``"a.b[3]"`` -> ``[("a", 0), ("b", 0), ("", 3)]``."""
    steps, at = [], 0
    while True:
        step = (_STEP if at else _FIRST).match(path, at)
        if step is None:
            raise BtfError(f"cannot read the path {path!r}: unexpected {path[at:][:20]!r} at position {at}")
        name, index = step.groups()
        if index and len(index) > len(str(_MAX_INDEX)):
            raise BtfError(f"cannot read the path {path!r}: index {index[:20]}... is too large")
        steps.append((name or "", int(index or 0)))
        at = step.end()
        if at == len(path):
            return steps


class _Way:
    """How far along a path the search has come."""

    def __init__(self, types: Types, struct: int, path: str) -> None:
        self.types = types
        self.path = path
        self.type = struct
        self.offset = 0  # bits
        self.bits = 0
        self.hops: list[Hop] = []

    def follow(self) -> None:
        """Go on at what a pointer points to."""
        pointer = self.types.type(self.types.resolve(self.type))
        assert isinstance(pointer, kinds.Ptr)
        self.type = self.types.resolve(pointer.type)
        self.hops.append(Hop(self.offset // 8, self.type))
        self.offset = 0

    def enter(self, name: str) -> None:
        """Go on to a member."""
        if self.types.kind(self.types.resolve(self.type)) is Kind.PTR:
            self.follow()
        struct = self.types.resolve(self.type)
        kind = self.types.type(struct)
        if not isinstance(kind, (kinds.Struct, kinds.Union)):
            raise BtfError(f"cannot find {name!r} in {self.path!r}: it is asked of {_title(self.types, struct)}")
        field = find_field(self.types, struct, name)
        if field is None:
            there = ", ".join(field.name for field in kind.members[:20] if field.name) or "none with a name"
            raise BtfError(f"{_title(self.types, struct)} has no member {name!r}; its members are {there}")
        self.type, self.offset, self.bits = field.type, self.offset + field.offset, field.bits

    def index(self, index: int) -> None:
        """Go on to an element of an array, or of what a pointer points to."""
        kind = self.types.type(self.types.resolve(self.type))
        if isinstance(kind, kinds.Ptr):
            self.follow()
        elif isinstance(kind, kinds.Array):
            if kind.length and index >= kind.length:
                raise BtfError(f"cannot find {self.path!r}: its index {index} is beyond {kind.length} elements")
            self.type = kind.type
        else:
            raise BtfError(f"cannot index in {self.path!r}: {_title(self.types, self.type)} is no array or pointer")
        self.offset += 8 * index * (self.types.size_of(self.type) if index else 0)

    def member(self) -> Member:
        """The member to which the path led."""
        resolved = self.types.resolve(self.type)
        kind, size = self.types.type(resolved), 0
        if not isinstance(kind, (kinds.FuncProto, kinds.Fwd, kinds.Void)):
            size = self.types.size_of(resolved)
        offset, bits = self.offset, self.bits
        if isinstance(kind, kinds.Int) and not bits and (kind.offset or kind.bits != 8 * kind.size):
            offset, bits = offset + kind.offset, kind.bits
        if bits > 8 * size:
            raise BtfError(f"bitfield {self.path!r} has {bits} bits, more than its type of {size} bytes")
        signed = isinstance(kind, (kinds.Int, kinds.Enum, kinds.Enum64)) and kind.signed
        return Member(self.path, self.type, offset, bits, size, signed, tuple(self.hops))


def _title(types: Types, type_id: int) -> str:
    return f"{types.kind(type_id).name.lower()} {types.name(type_id) or '(anonymous)'}"
