"""``class Event(Struct)``: records with C layout, named fields, and the cost of a tuple."""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pybpf.errors import DeclarationError, PackError
from pybpf.record import NamedTuple
from pybpf.types.layout import IntLayout, Layout, layout
from pybpf.types.pointer import PointerType
from pybpf.types.scalars import Array, ElementType, bool_

__all__ = ["Field", "Struct", "StructLayout"]

S = TypeVar("S", bound="Struct")

_TUPLE: Any = tuple  # what a Struct is, which type checkers do not see

# The descriptor that named tuples are made of: reads one item of a tuple without running Python code.
_ItemGetter: Any = type(vars(namedtuple("_", "item"))["item"])


class Field(NamedTuple):
    """One field of a struct."""

    name: str
    kind: Any  #: its type
    layout: Layout[Any]  #: its type's layout
    offset: int  #: bytes from the start of the struct
    item: int  #: index of its first item in the struct's format


class StructLayout(Layout["Struct"]):
    """C's layout of a struct: fields in order, each at a multiple of its alignment, padded at the end."""

    def __init__(self, cls: type[Struct], fields: list[tuple[str, Any]], packed: bool) -> None:
        self.cls = cls
        self.packed = packed
        self.fields: dict[str, Field] = {}
        codes: list[str] = []
        offset = item = 0
        self.align = 1
        for name, kind in fields:
            inner = layout(kind)
            align = 1 if packed else inner.align
            gap = -offset % align
            codes.append("x" * gap + inner.codes)
            self.fields[name] = Field(name, kind, inner, offset + gap, item)
            offset += gap + inner.size
            item += inner.width
            self.align = max(self.align, align)
        end = -offset % self.align
        self.codes = "".join(codes) + "x" * end
        self.size = offset + end
        self.width = item
        # Shadows the method: C code from end to end, so that no Python function runs for a record.
        self.__dict__["from_items"] = partial(_TUPLE.__new__, cls)

    def from_items(self, items: tuple[Any, ...]) -> Struct:
        made: Struct = _TUPLE.__new__(self.cls, items)
        return made

    def to_items(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, self.cls):
            if not isinstance(value, (tuple, list)) or isinstance(value, Struct):
                raise PackError(f"cannot store {value!r} in {self}: not a {self.cls.__name__}")
            value = self.cls(*value)
        return tuple(tuple.__iter__(value))

    def __str__(self) -> str:
        return f"struct {self.cls.__name__}"


if TYPE_CHECKING:

    class _Items(metaclass=ElementType):
        """A tuple as type checkers see it: without methods, whose names (``count``) fields may have."""

        def __add__(self, other: tuple[Any, ...]) -> tuple[Any, ...]: ...
        def __lt__(self, other: Any) -> bool: ...
        def __le__(self, other: Any) -> bool: ...
        def __gt__(self, other: Any) -> bool: ...
        def __ge__(self, other: Any) -> bool: ...

else:
    _Items = tuple


class Struct(_Items, metaclass=ElementType):
    """A record with C layout::

        class Open(Struct):
            pid: u32
            comm: char[16]
            path: char[256]

    A type checker knows no types that are made of numbers. It takes ``path: str = char[256]`` (and ``numbers:
    tuple[int, ...] = u32[4]``), which means the same, and so does ``path: Annotated[str, char[256]]``. A pointer is
    ``next: "user_ptr(Node)"``, or for type checkers ``next: Annotated[Any, user_ptr(Node)]``: an address in Python.

    Fields are read by name, by index or by unpacking, and cannot be assigned. ``Open(pid=1)`` makes one; fields
    that are not given are zero. ``class Header(Struct, packed=True)`` has no padding. Classes nest, ``Open[4]`` is
    an array. Inside, an instance is the tuple of raw items that :mod:`struct` yields; text is decoded when read.

    :raises PackError: (from the constructor) unknown fields, or values that do not fit.
    :raises DeclarationError: (from the class statement) what is said of a field is no type.
    """

    __slots__ = ()
    __layout__: ClassVar[StructLayout]

    def __init_subclass__(cls, packed: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        there = sys._getframe(2)
        cls.__layout__ = made = StructLayout(cls, _fields(cls, there.f_globals, there.f_locals), packed)
        for field in made.fields.values():
            setattr(cls, field.name, _accessor(field))

    def __new__(cls: type[S], *values: Any, **named: Any) -> S:
        fields = cls.__layout__.fields
        if len(values) > len(fields):
            raise PackError(f"{cls.__name__} has {len(fields)} fields, but {len(values)} values were given")
        given = dict(zip(fields, values))
        for name, value in named.items():
            if name not in fields or name in given:
                problem = "is given twice" if name in given else f"is unknown; the fields are {', '.join(fields)}"
                raise PackError(f"{cls.__name__}: field {name!r} {problem}")
            given[name] = value
        items: list[Any] = []
        for name, field in fields.items():
            if name not in given:
                items += field.layout.code.unpack(bytes(field.layout.size))
                continue
            try:
                items += field.layout.to_items(given[name])
            except PackError as error:
                raise PackError(f"{cls.__name__}.{name}: {error}") from None
        made: S = _TUPLE.__new__(cls, items)
        return made

    def __len__(self) -> int:
        return len(self.__layout__.fields)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self.__layout__.fields)

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self)

    def __contains__(self, value: object) -> bool:
        return value in tuple(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Struct):
            return type(other) is type(self) and bool(_TUPLE.__eq__(self, other))
        return isinstance(other, tuple) and tuple(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self._asdict().items())})"

    def _asdict(self) -> dict[str, Any]:
        """The fields as a dict, nested structs as they are."""
        return {name: getattr(self, name) for name in self.__layout__.fields}

    def _replace(self: S, **named: Any) -> S:
        """A copy with some fields changed."""
        return type(self)(**{**self._asdict(), **named})


def _accessor(field: Field) -> Any:
    """The attribute through which ``field`` of an instance is read."""
    if isinstance(field.layout, IntLayout):
        return _ItemGetter(field.item, f"{field.layout} at offset {field.offset}")
    make, part = field.layout.from_items, slice(field.item, field.item + field.layout.width)
    return property(lambda self: make(tuple.__getitem__(self, part)))


def _annotations(cls: type) -> dict[str, Any]:
    """The annotations of the class itself. From 3.14 they are not made before they are asked for."""
    if sys.version_info >= (3, 10):
        return cls.__annotations__
    return cls.__dict__.get("__annotations__", {})


def _fields(cls: type, outer: dict[str, Any], names: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(name, type) of the annotations of ``cls`` and its base structs.

    :param outer: the global names where the class stands, which has no module, for annotations kept as text.
    :param names: the local ones.
    """
    if cls.__module__ in sys.modules:
        outer = vars(sys.modules[cls.__module__])
    names = {**outer, **names, cls.__name__: cls}  # its own name: of a pointer to the next one
    found: dict[str, Any] = {}
    for base in cls.__mro__[:0:-1]:
        inherited = getattr(base, "__layout__", None)
        if isinstance(inherited, StructLayout):
            found.update((field.name, field.kind) for field in inherited.fields.values())
    for name, kind in _annotations(cls).items():
        try:
            if name.startswith("_"):
                raise DeclarationError("a field's name cannot start with an underscore")
            found[name] = _said(cls.__dict__[name]) if name in cls.__dict__ else _annotated(kind, names)
        except (NameError, SyntaxError, TypeError) as error:
            raise DeclarationError(f"{cls.__name__}.{name}: {error}") from None
    return list(found.items())


def _said(kind: Any) -> Any:
    """The type of a field, as ``comm: str = char[16]`` says it."""
    if not (isinstance(kind, type) and issubclass(kind, (Array, PointerType))):
        raise DeclarationError(
            f"{kind!r} cannot be its value: fields have no defaults, only the type of an array or of a pointer may "
            "stand there"
        )
    return kind


def _annotated(kind: Any, names: dict[str, Any]) -> Any:
    """The type of a field, as its annotation says it: in ``Annotated[str, char[16]]`` what follows the first."""
    for _ in range(2):  # text in quotes, under 'from __future__ import annotations'
        kind = eval(kind, names) if isinstance(kind, str) else kind
    for each in getattr(kind, "__metadata__", ()):
        if isinstance(each, type) and hasattr(each, "__layout__"):
            return each
    if kind is bool:
        return bool_
    layout(kind)
    return kind
