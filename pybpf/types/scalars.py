"""The scalar types ``u8`` .. ``u64``, ``s8`` .. ``s64`` and ``bool_``, and arrays ``T[N]`` of any type."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

from pybpf.errors import DeclarationError
from pybpf.types.layout import BoolLayout, BytesLayout, CharsLayout, IntLayout, Layout, TupleLayout, layout

__all__ = [
    "Array", "ElementType", "Int", "array_of", "bool_", "char", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64",
]  # fmt: skip


class ElementType(type):
    """The class of this package's types: what makes ``T[N]`` an array of T, in a way that type checkers know."""

    def __new__(mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], **options: Any) -> Any:
        space.setdefault("__slots__", ())  # values have nothing but what is stored: other attributes are refused
        return super().__new__(mcs, name, bases, space, **options)

    def __getitem__(cls, length: int) -> Any:  # so that it can be said behind a type: ``comm: str = char[16]``
        return array_of(cls, length)


class Array(metaclass=ElementType):
    """Base of the classes that ``T[N]`` makes; :attr:`element` is T and :attr:`length` is N."""

    __layout__: ClassVar[Layout[Any]]
    element: ClassVar[type]
    length: ClassVar[int]


@lru_cache(maxsize=None, typed=True)  # typed: True is no length, though it equals 1
def array_of(element: type, length: int) -> type[Array]:
    """The type of C's ``element name[length]``; what ``T[N]`` calls. The same arguments give the same class.

    :raises DeclarationError: ``length`` is not a positive integer or ``element`` is not a type of this package.
    """
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise DeclarationError(f"an array's length is a positive integer, not {length!r}")
    made: Layout[Any]
    if element is char:
        made = CharsLayout(length)
    elif element is u8:
        made = BytesLayout(length)
    else:
        made = TupleLayout(layout(element), length)
    members = {"__layout__": made, "element": element, "length": length, "__module__": __name__}
    array: type[Array] = ElementType(f"{element.__name__}[{length}]", (Array,), members)
    return array


class Int(int, metaclass=ElementType):
    """Base of the integer types. Calling one wraps around as C does: ``u8(257) == 1``, ``s8(255) == -1``."""

    __layout__: ClassVar[IntLayout]
    __slots__ = ()

    def __new__(cls, value: Any = 0) -> Int:
        kind = cls.__layout__
        modulus = 1 << (8 * kind.size)
        number = int(value) % modulus
        return super().__new__(cls, number - modulus if number > kind.maximum else number)


class u8(Int):
    """Unsigned 8-bit integer; values of ``u8[N]`` are ``bytes``."""

    __layout__ = IntLayout(1, signed=False)


class u16(Int):
    """Unsigned 16-bit integer."""

    __layout__ = IntLayout(2, signed=False)


class u32(Int):
    """Unsigned 32-bit integer."""

    __layout__ = IntLayout(4, signed=False)


class u64(Int):
    """Unsigned 64-bit integer."""

    __layout__ = IntLayout(8, signed=False)


class s8(Int):
    """Signed 8-bit integer."""

    __layout__ = IntLayout(1, signed=True)


class s16(Int):
    """Signed 16-bit integer."""

    __layout__ = IntLayout(2, signed=True)


class s32(Int):
    """Signed 32-bit integer."""

    __layout__ = IntLayout(4, signed=True)


class s64(Int):
    """Signed 64-bit integer."""

    __layout__ = IntLayout(8, signed=True)


class bool_(int, metaclass=ElementType):
    """C's one-byte ``bool``; its values are Python's ``bool``."""

    __layout__: ClassVar[BoolLayout] = BoolLayout()
    __slots__ = ()


class char(str, metaclass=ElementType):
    """One character; ``char[N]`` is text of at most N bytes, cut at the first NUL, as ``str``."""

    __layout__: ClassVar[CharsLayout] = CharsLayout(1)
    __slots__ = ()
