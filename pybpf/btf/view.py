"""Values of BTF types: a class for any type, whose values decode a member when it is read.

>>> Sock = Btf.vmlinux().ctype("struct sock_common")
>>> HashMap(u64, Sock).items()

Such a class serves wherever a type of :mod:`pybpf.types` does: as key or value of a map, as ``T[4]``, as field of a
``Struct``. Integers become ``u8`` .. ``u64`` and ``s8`` .. ``s64``, ``char[N]`` is ``str``, ``unsigned char[N]`` is
``bytes``, pointers are their address, enums are :class:`EnumValue` and structs and unions :class:`View`.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from pybpf.btf import kinds
from pybpf.btf.kinds import Encoding, Kind
from pybpf.btf.member import find_field
from pybpf.btf.reader import MAX_DEPTH, Types
from pybpf.errors import BtfError, PackError
from pybpf.types import Array, Layout, array_of, bool_, char, layout, s8, s16, s32, s64, u8, u16, u32, u64
from pybpf.types.layout import BoolLayout, BytesLayout, IntLayout

__all__ = ["EnumValue", "View", "Views"]

#: The kernel's map values are smaller; what is larger is hostile.
_MAX_SIZE = 1 << 24
#: Reading a member makes a Python object of each of its elements.
_MAX_ELEMENTS = 1 << 20
#: Members and elements that one repr() shows, nested ones included, and how deep.
_MAX_SHOWN = 400
_MAX_SHOWN_DEPTH = 16
_ORDER: Any = sys.byteorder
_INTS: dict[tuple[int, bool], Any] = {
    (1, False): u8, (2, False): u16, (4, False): u32, (8, False): u64,
    (1, True): s8, (2, True): s16, (4, True): s32, (8, True): s64,
}  # fmt: skip


class View:
    """A struct or union of BTF: bytes, of which a member is decoded when its attribute is read.

    A member whose name is no Python name, or taken, is read by item: ``view["class"]``. Members of anonymous
    structs are members of the outer one. Values are equal when their bytes are. ``Class(pid=1)`` makes one;
    members that are not given are zero.
    """

    __slots__ = ("_raw",)
    __layout__: ClassVar[_ViewLayout]
    _raw: bytes

    def __init__(self, **members: Any) -> None:
        """:raises PackError: an unknown member, or a value that does not fit."""
        self._raw = self.__layout__.assemble(members)

    def __class_getitem__(cls, length: int) -> type[Array]:
        return array_of(cls, length)  # type: ignore[arg-type]  # mypy: a class is not seen as hashable

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __getitem__(self, name: str) -> Any:
        found = self.__layout__.member(name)
        if found is None:
            raise KeyError(f"{type(self).__name__} has no member {name!r}")
        return found.read(self._raw)

    def __bytes__(self) -> bytes:
        return self._raw

    def __eq__(self, other: object) -> bool:
        return self._raw == other._raw if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._raw)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.__layout__.names()]

    def __repr__(self) -> str:
        return _show(self, [_MAX_SHOWN], _MAX_SHOWN_DEPTH)


class EnumValue(int):
    """A value of an enum: an int that knows its name."""

    __layout__: ClassVar[_EnumLayout]
    __slots__ = ()

    def __class_getitem__(cls, length: int) -> type[Array]:
        return array_of(cls, length)  # type: ignore[arg-type]  # as in View

    @property
    def name(self) -> str:
        """The first constant with this value; ``""`` if there is none."""
        return self.__layout__.labels.get(int(self), "")

    def __repr__(self) -> str:
        return self.name or int.__repr__(self)


class _Slot:
    """Where a member of a view lies and how it is read."""

    def __init__(self, name: str, how: Layout[Any], offset: int, bits: int, little: bool) -> None:
        self.name = name
        self.how = how
        self.offset = offset // 8
        self.bits = bits
        if bits:
            span = (offset % 8 + bits + 7) // 8  # bytes that it touches
            self.span = slice(self.offset, self.offset + span)
            self.shift = offset % 8 if little else 8 * span - offset % 8 - bits
            self.signed: bool = getattr(how, "signed", False)

    def read(self, raw: bytes) -> Any:
        """The member's value."""
        if not self.bits:
            return self.how.unpack(raw, self.offset)
        value = int.from_bytes(raw[self.span], _ORDER) >> self.shift & ((1 << self.bits) - 1)
        if self.signed:
            value -= value >> (self.bits - 1) << self.bits
        return self.how.from_items((value,))

    def write(self, raw: bytearray, value: Any) -> None:
        """Store a value. :raises PackError: it does not fit."""
        if not self.bits:
            self.how.code.pack_into(raw, self.offset, *self.how.to_items(value))
            return
        number = self.how.to_items(value)[0]
        low = -(1 << (self.bits - 1)) if self.signed else 0
        if not low <= number < low + (1 << self.bits):
            raise PackError(f"cannot store {number} in {self.bits} bits")
        mask = ((1 << self.bits) - 1) << self.shift
        before = int.from_bytes(raw[self.span], _ORDER)
        after = before & ~mask | number << self.shift & mask
        raw[self.span] = after.to_bytes(self.span.stop - self.span.start, _ORDER)


class _ViewLayout(Layout[View]):
    """A struct or union: one item of all its bytes."""

    width = 1

    def __init__(self, views: Views, type_id: int, size: int) -> None:
        self.views = views
        self.type_id = type_id
        self.size = size
        self.codes = f"{size}s"
        self.align = views.types.align_of(type_id)
        self.slots: dict[str, _Slot] = {}
        self.cls: type[View] = View

    def member(self, name: str) -> _Slot | None:
        """A member by its name. :raises BtfError: it is malformed."""
        slot = self.slots.get(name)
        if slot is None:
            types = self.views.types
            field = find_field(types, self.type_id, name) if name else None
            if field is None:
                return None
            slot = self.slots[name] = self.slot(types, field)
        return slot

    def slot(self, types: Types, field: kinds.Field) -> _Slot:
        """How to read a member."""
        kind = types.type(types.resolve(field.type))
        how = self.views.layout(field.type)
        offset, bits = field.offset, field.bits
        if isinstance(kind, kinds.Int) and not bits and (kind.offset or kind.bits != 8 * kind.size):
            offset, bits = offset + kind.offset, kind.bits
        end = offset + (bits or 8 * how.size)
        if end > 8 * self.size or (not bits and offset % 8):
            raise BtfError(f"member {field.name!r} of {self} lies outside of its {self.size} bytes, or between bytes")
        if bits and (bits > 8 * how.size or not isinstance(how, (IntLayout, BoolLayout, _EnumLayout))):
            raise BtfError(f"member {field.name!r} of {self} is a bitfield of {bits} bits, but its type is {how}")
        return _Slot(field.name, how, offset, bits, _ORDER == "little")

    def names(self) -> list[str]:
        """The names of the members, each once; those of anonymous members come last."""
        types, found = self.views.types, dict[str, None]()
        stack, seen = [self.type_id], {self.type_id}
        while stack:
            kind = types.type(stack.pop())
            for field in getattr(kind, "members", ()):
                inner = types.resolve(field.type) if not field.name else 0
                if field.name:
                    found[field.name] = None
                elif inner not in seen and types.kind(inner) in (Kind.STRUCT, Kind.UNION):
                    seen.add(inner)
                    stack.append(inner)
        return list(found)

    def assemble(self, members: dict[str, Any]) -> bytes:
        """The bytes of a value. :raises PackError: an unknown member, or a value that does not fit."""
        raw = bytearray(self.size)
        for name, value in members.items():
            slot = self.member(name)
            if slot is None:
                raise PackError(f"{self} has no member {name!r}")
            try:
                slot.write(raw, value)
            except PackError as error:
                raise PackError(f"{self}, member {name!r}: {error}") from None
        return bytes(raw)

    def to_items(self, value: Any) -> tuple[bytes]:
        if isinstance(value, View) and value.__layout__ is self:
            return (value._raw,)
        if isinstance(value, dict):
            return (self.assemble(value),)
        if isinstance(value, (bytes, bytearray, memoryview)) and len(value) == self.size:
            return (bytes(value),)
        raise PackError(f"cannot store {value!r} in {self}: give one, a dict of members, or {self.size} bytes")

    def from_items(self, items: tuple[Any, ...]) -> View:
        made: View = self.cls.__new__(self.cls)
        made._raw = items[0]
        return made

    def __str__(self) -> str:
        return _title(self.views.types, self.type_id)


class _ArrayLayout(Layout[Any]):
    """An array, flexible ones (of no element) too: one item of all its bytes."""

    width = 1

    def __init__(self, element: Layout[Any], length: int) -> None:
        self.element = element
        self.length = length if element.size else 0
        #: elements, those of arrays in it included
        self.count: int = self.length * getattr(element, "count", 1)
        self.size = element.size * length
        self.align = element.align
        self.codes = f"{self.size}s"

    def to_items(self, value: Any) -> tuple[bytes]:
        values = tuple(value) if hasattr(value, "__iter__") else ()
        if len(values) != self.length:
            raise PackError(f"cannot store {value!r} in {self}: it takes {self.length} values")
        return (b"".join(map(self.element.pack, values)),)

    def from_items(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self.element.iter_unpack(items[0])) if items[0] else ()

    def __str__(self) -> str:
        return f"{self.element}[{self.length}]"


class _EnumLayout(Layout[EnumValue]):
    """An enum: stored from a number or a constant's name."""

    width = 1

    def __init__(self, title: str, kind: kinds.Enum | kinds.Enum64) -> None:
        self.number = IntLayout(kind.size, kind.signed)
        self.size = self.align = kind.size
        self.codes = self.number.codes
        self.signed = kind.signed
        self.title = title
        self.cls = EnumValue
        self.labels = {value: name for name, value in reversed(kind.values)}
        self.values = dict(kind.values)

    def to_items(self, value: Any) -> tuple[int]:
        if isinstance(value, str):
            if value not in self.values:
                raise PackError(f"cannot store {value!r} in {self}: it has no such constant")
            value = self.values[value]
        return self.number.to_items(value)

    def from_items(self, items: tuple[Any, ...]) -> EnumValue:
        return self.cls(items[0])

    def __str__(self) -> str:
        return self.title


class Views:
    """The classes made for one BTF: each type's once."""

    def __init__(self, types: Types) -> None:
        self.types = types
        self.made: dict[int, Any] = {}

    def ctype(self, type_id: int) -> type[Any]:
        """The class of a type's values.

        :raises BtfError: the type has no size, is larger than 16 MiB, is malformed, has more than a million
            elements, or has the other byte order.
        """
        if self.types.endian != _ORDER:
            raise BtfError(f"cannot view values of {self.types.endian}-endian types on a {_ORDER}-endian machine")
        made: type[Any] = self.cls(type_id, 0)
        return made

    def layout(self, type_id: int) -> Layout[Any]:
        """The layout of a type."""
        return layout(self.cls(type_id, 0))

    def cls(self, type_id: int, depth: int) -> Any:
        """The class of a type. :raises BtfError: it has no values."""
        type_id = self.types.resolve(type_id)
        found = self.made.get(type_id)
        if found is None:
            if depth > MAX_DEPTH:
                raise BtfError(f"type {type_id} lies in more than {MAX_DEPTH} arrays, or in itself")
            size = self.types.size_of(type_id)
            if size > _MAX_SIZE:
                raise BtfError(f"{_title(self.types, type_id)} has {size} bytes, more than any map's value can")
            found = self.made[type_id] = self.make(type_id, size, depth)
        return found

    def make(self, type_id: int, size: int, depth: int) -> Any:
        """Make the class of a resolved type of a size that is known to be sane."""
        kind = self.types.type(type_id)
        if isinstance(kind, (kinds.Struct, kinds.Union)):
            view = _ViewLayout(self, type_id, size)
            view.cls = _class(kind.name or "anonymous", View, view)
            return view.cls
        if isinstance(kind, kinds.Array):
            return self.array(kind, depth)
        if isinstance(kind, (kinds.Enum, kinds.Enum64)) and size in (1, 2, 4, 8):
            how = _EnumLayout(_title(self.types, type_id), kind)
            how.cls = _class(kind.name or "anonymous", EnumValue, how)
            return how.cls
        if isinstance(kind, kinds.Int) and kind.encoding & Encoding.BOOL and size == 1:
            return bool_
        if isinstance(kind, kinds.Int) and (size, kind.signed) in _INTS:
            return _INTS[size, kind.signed]
        if isinstance(kind, kinds.Ptr):
            return _INTS[size, False]
        # __int128, floating point: their bytes
        return _class(kind.name or "bytes", Array, BytesLayout(size), element=u8, length=size)

    def array(self, kind: kinds.Array, depth: int) -> Any:
        """Make the class of an array."""
        element = self.types.type(self.types.resolve(kind.type))
        inner = self.cls(kind.type, depth + 1)
        if isinstance(element, kinds.Int) and element.is_char:
            inner = char
        if kind.length and inner in (char, u8):
            return array_of(inner, kind.length)
        how = _ArrayLayout(layout(inner), kind.length)
        if how.count > _MAX_ELEMENTS:
            raise BtfError(f"an array has {how.count} elements, more than the {_MAX_ELEMENTS} that a view can have")
        return _class(f"{inner.__name__}[{kind.length}]", Array, how, element=inner, length=kind.length)


def _class(name: str, base: type, how: Layout[Any], **members: Any) -> Any:
    title = name.encode("ascii", "backslashreplace").decode()
    return type(title, (base,), {"__layout__": how, "__slots__": (), "__module__": __name__, **members})


def _title(types: Types, type_id: int) -> str:
    return f"{types.kind(type_id).name.lower()} {types.name(type_id) or '(anonymous)'}"


def _show(value: Any, left: list[int], depth: int) -> str:
    """``name(member=value, ...)`` of at most ``left[0]`` members, which it counts down."""
    if isinstance(value, View):
        inner = ((f"{name}=", value[name]) for name in value.__layout__.names())
        start, end = f"{type(value).__name__}(", ")"
    elif isinstance(value, tuple):
        inner = (("", element) for element in value)
        start, end = "(", ",)" if len(value) == 1 else ")"
    else:
        return repr(value)
    parts: list[str] = []
    for label, element in inner:
        left[0] -= 1
        if left[0] < 0 or not depth:
            parts.append("...")
            break
        parts.append(label + _show(element, left, depth - 1))
    return f"{start}{', '.join(parts)}{end}"
