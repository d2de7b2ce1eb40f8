"""Pointers as types of fields: what ``user_ptr(T)`` and ``kernel_ptr("struct sock")`` of pybpf.lang make."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

from pybpf.errors import DeclarationError
from pybpf.types.layout import IntLayout
from pybpf.types.scalars import ElementType, bool_, s64

__all__ = ["PointerLayout", "PointerType", "pointer_to"]


class PointerLayout(IntLayout):
    """An address: in Python an integer, 0 for a null pointer; ``None`` can be stored as such."""

    def __init__(self) -> None:
        super().__init__(8, signed=False)

    def to_items(self, value: Any) -> tuple[int]:
        return (0,) if value is None else super().to_items(value)

    def __str__(self) -> str:
        return "a pointer"


class PointerType(metaclass=ElementType):
    """Base of the classes that :func:`pointer_to` makes.

    :cvar to: what it points to: a type, None (void), the name of one of the kernel's types, or another pointer.
    :cvar user: it leads into the memory of the traced process, otherwise into the kernel's.
    """

    __layout__: ClassVar[PointerLayout] = PointerLayout()
    to: ClassVar[Any]
    user: ClassVar[bool]


@lru_cache(maxsize=None, typed=True)
def _made(to: Any, user: bool) -> type[PointerType]:
    shown = to.__name__ if isinstance(to, type) else repr(to)
    name = f"{'user' if user else 'kernel'}_ptr({shown})"
    made: type[PointerType] = ElementType(name, (PointerType,), {"to": to, "user": user, "__module__": __name__})
    return made


def pointer_to(to: Any, user: bool) -> type[PointerType]:
    """The type of a pointer. The same arguments give the same class.

    :param to: may be a Struct that is just being made: ``next: "user_ptr(Node)"`` of the class ``Node`` itself.
    :raises DeclarationError: ``to`` is no type.
    """
    to = s64 if to is int else bool_ if to is bool else to
    if not (to is None or isinstance(to, (str, ElementType)) or hasattr(to, "__layout__")):
        raise DeclarationError(
            f'{to!r:.60} is nothing that a pointer points to: write u64, char, a Struct, "struct NAME" of the '
            "kernel, or None where that is not known"
        )
    return _made(to, user)
