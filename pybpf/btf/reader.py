"""Lazy reader of one BTF blob: an index made by one walk, types decoded when asked for."""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from fnmatch import translate
from functools import cached_property
from typing import Any

from pybpf.btf import kinds
from pybpf.btf.format import KIND_OF, ROWS, Raw, Steps, read_header
from pybpf.btf.kinds import BtfType, Kind
from pybpf.errors import BtfError
from pybpf.lazy import regex

__all__ = ["MAX_DEPTH", "Types"]

#: How deep modifiers, arrays and nested structs are followed. The kernel itself refuses more than 32.
MAX_DEPTH = 64
#: The longest name that is decoded; the kernel's limit for identifiers is 512.
_MAX_NAME = 1024
#: How many decoded types are kept.
_MAX_DECODED = 512
_MAX_SIZE = 0xFFFFFFFF  # of a type, in bytes; the kernel's limit too

_MODIFIERS = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_SIZED = frozenset({Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.FLOAT, Kind.DATASEC})
_ENUMS = frozenset({Kind.ENUM, Kind.ENUM64})
# What the first word of a C type's name says of its kind; without one, these are tried in order.
_KEYWORDS = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}
_BARE: tuple[Kind, ...] = (Kind.TYPEDEF, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.INT, Kind.FLOAT)
_WILD = regex(r"[*?\[]")
_LONGS = ("long unsigned int", "unsigned long", "long int", "long")


class Types:
    """The types of a blob (and of the one that it extends), by id and by name.

    Types are numbered from 1; a split blob, such as a module's, continues the numbers of its base. Nothing but
    the header and the extent of each type is looked at before it is asked for; every method that meets
    malformed data raises :class:`BtfError`, at a bounded cost.

    :ivar base: the blob that this one extends, or None.
    :ivar endian: ``"little"`` or ``"big"``.
    :ivar first: the lowest id that this blob itself holds.
    :ivar count: one more than the highest id.
    :ivar string_end: one more than the highest string offset.
    """

    base: Types | None
    endian: str
    first: int
    count: int
    string_end: int

    def __init__(self, data: Any, base: Types | None = None) -> None:
        """Index a blob; its bytes are copied.

        :param data: bytes-like.
        :param base: for split BTF, what it extends.
        :raises BtfError: it is malformed.
        """
        with memoryview(data) as view, view.cast("B") as octets:
            header = read_header(octets)
            words = array("I")
            words.frombytes(octets[header.types])
            self._strings = bytes(octets[header.strings])
        self.endian = header.endian
        if header.endian != sys.byteorder:
            words.byteswap()
        self._words = words
        self.base = base
        self._first_string = base.string_end if base else 0
        self.string_end = self._first_string + len(self._strings)
        if self._strings[-1:] != b"\0" and not (base and not self._strings):
            raise BtfError("cannot read BTF: its string section does not end with a NUL byte")
        if base is None and self._strings[0]:
            raise BtfError("cannot read BTF: its string section does not start with a NUL byte")
        if base is not None and base.endian != self.endian:
            raise BtfError(f"cannot read BTF: it is {self.endian}-endian, but what it extends is {base.endian}-endian")
        #: index of a type's first word, by id - _origin; in a blob without a base, the entry of void is unused
        self._starts = _walk(words, base.count if base else 0)
        self._origin = base.count if base else 0
        self.first = self._origin or 1
        self.count = self._origin + len(self._starts)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self.count - self.first} types>"

    # -- one type

    def _at(self, type_id: int) -> tuple[Types, int]:
        """The blob that holds a type, and the index of its first word."""
        if type_id >= self._origin:
            if type_id < self.count and type_id:
                return self, self._starts[type_id - self._origin]
        elif type_id > 0 and self.base:
            return self.base._at(type_id)
        raise BtfError(f"there is no type {type_id}: ids run from 1 to {self.count - 1}")

    def kind(self, type_id: int) -> Kind:
        """The kind of a type. :raises BtfError: there is no such id."""
        if not type_id:
            return Kind.VOID
        blob, at = self._at(type_id)
        return Kind(blob._words[at + 1] >> 24 & 31)

    def type(self, type_id: int) -> BtfType:
        """Decode a type. :raises BtfError: there is no such id, or it is malformed."""
        if not type_id:
            return kinds.Void()
        found = self._decoded.get(type_id)
        if found is None:
            blob, at = self._at(type_id)
            try:
                found = blob._decode(at)
            except BtfError as error:
                raise BtfError(f"cannot read type {type_id}: {error}") from None
            if len(self._decoded) >= _MAX_DECODED:
                self._decoded.clear()
            self._decoded[type_id] = found
        return found

    @cached_property
    def _decoded(self) -> dict[int, BtfType]:
        """Types that were decoded lately."""
        return {}

    def _decode(self, at: int) -> BtfType:
        name, info, size = self._words[at : at + 3]
        row = ROWS[Kind(info >> 24 & 31)]
        vlen = info & 0xFFFF
        extra = self._words[at + 3 : at + 3 + row.fixed + row.each * vlen]
        return row.decode(self._name(name), Raw(vlen, bool(info >> 31), size, extra), self._name)

    def name(self, type_id: int) -> str:
        """The name of a type; ``""`` if it has none. :raises BtfError: no such id, or its name is malformed."""
        if not type_id:
            return "void"
        blob, at = self._at(type_id)
        return blob._name(blob._words[at])

    def string(self, offset: int) -> str:
        """The string at an offset of the string section, as in line info. :raises BtfError: it lies outside."""
        return self._string(offset, self.string_end)

    def _name(self, offset: int) -> str:
        return self._string(offset, _MAX_NAME) if offset else ""

    def _string(self, offset: int, limit: int) -> str:
        if offset < self._first_string and self.base:
            return self.base._string(offset, limit)
        start = offset - self._first_string
        if not 0 <= start < len(self._strings):
            raise BtfError(f"there is no string at offset {offset}: the string section ends at {self.string_end}")
        end = self._strings.find(0, start, start + limit)
        if end < 0:
            raise BtfError(f"the name at string offset {offset} is longer than {limit} bytes")
        return self._strings[start:end].decode("utf-8", "surrogateescape")

    # -- names to types

    @cached_property
    def _names(self) -> bytes:
        """The name offset of each type, as 32-bit numbers: :meth:`bytes.find` is the fastest way to search them."""
        void = self.first - self._origin
        return bytes(4 * void) + array("I", map(self._words.__getitem__, self._starts[void:])).tobytes()

    @cached_property
    def _kinds(self) -> bytes:
        """The kind of each type."""
        void, words = self.first - self._origin, self._words
        return bytes(void) + bytes([words[at + 1] >> 24 & 31 for at in self._starts[void:]])

    def find(self, kind: str | Kind, name: str) -> int | None:
        """The id of a type by its kind and name; None if there is none.

        Where several types have the name, the first one of this blob, else of its base.

        :param kind: a :class:`Kind` or its name, such as ``"struct"``; ``"enum"`` finds those of 64 bits too.
        """
        wanted = _kinds_of(kind)
        return next((found for found in self._named(name) if self.kind(found) in wanted), None)

    def _named(self, name: str) -> Iterator[int]:
        """The ids of all types with a name, those of the base last; decodes none."""
        key = _key(name)
        blob: Types | None = self if key else None
        while blob:
            # Strings may share their ends ("sock" inside of "unix_sock"), though no known compiler does that.
            yield from blob._with_names(set(blob._offsets(b"\0" + key, 1)) or set(blob._offsets(key, 0)))
            blob = blob.base

    def _offsets(self, text: bytes, skip: int) -> Iterator[int]:
        """Where a byte string lies in the string sections that this blob may refer to."""
        if self.base:
            yield from self.base._offsets(text, skip)
        at = self._strings.find(text)
        while at >= 0:
            yield at + skip + self._first_string
            at = self._strings.find(text, at + 1)

    def _with_names(self, offsets: set[int]) -> Iterator[int]:
        """The ids of this blob's own types whose name is at one of these string offsets, in order."""
        numbers = memoryview(self._names).cast("I")
        if len(offsets) > 1:  # no compiler repeats a string; where one is, one walk looks for all its copies
            offsets = offsets.intersection(numbers)
        if len(offsets) > 1:
            yield from (self._origin + index for index, offset in enumerate(numbers) if offset in offsets)
        elif offsets:
            key = struct.pack("=I", *offsets)
            at = self._names.find(key)
            while at >= 0:
                if at % 4 == 0:
                    yield self._origin + at // 4
                at = self._names.find(key, at + 1)

    def names(self, kind: str | Kind, pattern: str = "*") -> list[tuple[str, int]]:
        """(name, id) of the types of a kind whose name matches a shell pattern, by id; the base's come first."""
        found = self.base.names(kind, pattern) if self.base else []
        wanted = _kinds_of(kind)
        matches: Callable[[str], Any] = re.compile(translate(pattern)).match
        start = _WILD.split(pattern, maxsplit=1)[0]
        offsets = memoryview(self._names).cast("I")
        # The fast way, where offsets into the section are offsets into its text.
        text = self._strings.decode("ascii") if not self.base and self._strings.isascii() else ""
        for index, number in enumerate(self._kinds):
            if number in wanted:
                offset = offsets[index]
                end = text.find("\0", offset, offset + _MAX_NAME)
                if not offset or (end > 0 and not text.startswith(start, offset)):
                    continue
                name = text[offset:end] if end > 0 else self._name(offset)
                if matches(name):
                    found.append((name, self._origin + index))
        return found

    def named(self, text: str) -> int:
        """The id of a type by its C name: ``"struct sock"``, ``"pid_t"``; a keyword may be left out.

        :raises BtfError: there is no such type.
        """
        found = self._ids.get(text)
        if found is None:
            words = text.split()
            wanted = _KEYWORDS[words.pop(0)] if len(words) > 1 and words[0] in _KEYWORDS else _BARE
            there = {self.kind(type_id): type_id for type_id in reversed(list(self._named(" ".join(words))))}
            found = next((there[kind] for kind in wanted if kind in there), None)
            if found is None:
                raise BtfError(f"there is no type named {text!r} in this BTF")
            self._ids[text] = found
        return found

    @cached_property
    def _ids(self) -> dict[str, int]:
        """What :meth:`named` found."""
        return {}

    def id_of(self, what: int | str) -> int:
        """``what`` itself if it is an id, else :meth:`named`."""
        return self.named(what) if isinstance(what, str) else what

    def constant(self, name: str) -> int | None:
        """The value of the first enum constant with a name, of any enum; None if there is none."""
        found = self.enum_of(name)
        if found is None:
            return None
        values = self.type(found).values  # type: ignore[union-attr]  # it is an enum
        return next(value for known, value in values if known == name)

    def enum_of(self, name: str) -> int | None:
        """The id of the first enum that has a constant with a name; None if there is none."""
        key = _key(name)
        blob: Types | None = self
        while blob:
            words, offsets = blob._words, set(blob._offsets(key, 0) if key else ())
            for index, (at, number) in enumerate(zip(blob._starts, blob._kinds) if offsets else ()):
                if number in _ENUMS:
                    each = ROWS[Kind(number)].each
                    own = words[at + 3 : at + 3 + each * (words[at + 1] & 0xFFFF) : each]
                    if not offsets.isdisjoint(own):
                        return blob._origin + index
            blob = blob.base
        return None

    # -- what a type is

    def resolve(self, type_id: int) -> int:
        """The id behind typedefs, const, volatile, restrict and type tags. :raises BtfError: they never end."""
        for _ in range(MAX_DEPTH):
            if self.kind(type_id) not in _MODIFIERS:
                return type_id
            blob, at = self._at(type_id)
            type_id = blob._words[at + 2]
        raise BtfError(f"type {type_id} lies under more than {MAX_DEPTH} typedefs and qualifiers, or under itself")

    @cached_property
    def pointer_size(self) -> int:
        """Bytes of a pointer: those of C's ``long``, where it is known, else 8."""
        for name in _LONGS:
            found = self.find(Kind.INT, name)
            size = self.size_of(found) if found else 0
            if size in (4, 8):
                return size
        return 8

    def size_of(self, type_id: int) -> int:
        """The size of a type in bytes; 0 for a flexible array.

        :raises BtfError: it has none (void, functions, undefined structs), or it is malformed.
        """
        count = 1
        for _ in range(MAX_DEPTH):
            type_id = self.resolve(type_id)
            kind = self.kind(type_id)
            if kind in _SIZED or kind is Kind.PTR:
                blob, at = self._at(type_id)
                size = count * (self.pointer_size if kind is Kind.PTR else blob._words[at + 2])
                if size > _MAX_SIZE:
                    raise BtfError(f"type {type_id}: an array of {count} has {size} bytes, more than any type can")
                return size
            if kind is Kind.VAR:
                blob, at = self._at(type_id)
                type_id = blob._words[at + 2]
                continue
            if kind is not Kind.ARRAY:
                raise BtfError(f"type {type_id} ({kind.name} {self.name(type_id)!r}) has no size")
            blob, at = self._at(type_id)
            type_id, count = blob._words[at + 3], count * blob._words[at + 5]
        raise BtfError(f"type {type_id} lies in more than {MAX_DEPTH} arrays, or in itself")

    def align_of(self, type_id: int) -> int:
        """The alignment of a type in bytes; 1 for a packed struct. :raises BtfError: it is malformed."""
        return self._align(type_id, frozenset())

    @cached_property
    def _aligns(self) -> dict[int, int]:
        """The alignment of each type that was asked for."""
        return {}

    def _align(self, type_id: int, above: frozenset[int]) -> int:
        """``above``: the types that this one is nested in."""
        type_id = self.resolve(type_id)
        align = self._aligns.get(type_id)
        if align is None:
            if type_id in above or len(above) > MAX_DEPTH:
                raise BtfError(f"type {type_id} is nested in itself, or in more than {MAX_DEPTH} types")
            self._aligns[type_id] = align = self._find_align(self.type(type_id), above | {type_id})
        return align

    def _find_align(self, kind: BtfType, above: frozenset[int]) -> int:
        if isinstance(kind, kinds.Array):
            return self._align(kind.type, above)
        if isinstance(kind, kinds.Ptr):
            return self.pointer_size
        if isinstance(kind, (kinds.Int, kinds.Enum, kinds.Enum64, kinds.Float)):
            return min(kind.size, 16) or 1
        align = 1
        if isinstance(kind, (kinds.Struct, kinds.Union)):
            for member in kind.members:
                inner = self._align(member.type, above)
                if not member.bits and member.offset % (8 * inner) and not self._is_bits(member.type):
                    return 1
                align = max(align, inner)
            if kind.size % align:
                return 1
        return align

    def _is_bits(self, type_id: int) -> bool:
        """True for an INT that is narrower than its bytes: the old encoding of a bitfield."""
        kind = self.type(self.resolve(type_id))
        return isinstance(kind, kinds.Int) and (kind.bits != 8 * kind.size or bool(kind.offset))


def _walk(words: array[int], origin: int) -> array[int]:
    """The index of the first word of each type. One pass, as little work per type as Python can do."""
    starts = array("I", () if origin else (0,))
    append, steps = starts.append, Steps()
    at, end = 0, len(words)
    try:
        while at < end:
            append(at)
            at += steps[words[at + 1]]
    except IndexError:
        at = -1
    except BtfError as error:
        raise BtfError(f"cannot read type {origin + len(starts) - 1}: {error}") from None
    if at != end:
        raise BtfError(f"cannot read type {origin + len(starts) - 1}: it ends beyond the type section")
    return starts


def _kinds_of(kind: str | Kind) -> frozenset[int]:
    if isinstance(kind, Kind):
        return frozenset({kind})
    if kind == "enum":
        return _ENUMS
    try:
        return frozenset({Kind[kind.upper()]})
    except KeyError:
        names = ", ".join(known.name.lower() for known in KIND_OF.values())
        raise BtfError(f"{kind!r} is not a kind of BTF type; those are {names}") from None


def _key(name: str) -> bytes:
    """How a name lies in the string section; ``b""`` for what cannot be a name."""
    try:
        key = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b""
    return b"" if not key or b"\0" in key else key + b"\0"
