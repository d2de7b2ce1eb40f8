"""What the fields of a tracepoint's record are, of the C types that its format file writes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.errors import BtfError
from pybpf.lang.values.shapes import Address, Elements, Number, Opaque, Shape, btf_named, integer
from pybpf.lazy import regex
from pybpf.types import bool_, char, u8

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpf.btf import Btf

__all__ = ["DYNAMIC", "SYSCALLS", "field_shape", "unqualified"]

#: the group of tracepoints whose pointers are those that a process gave to a system call
SYSCALLS = "syscalls"
_QUALIFIERS = regex(r"\b(?:const|volatile|__user|__rcu|__percpu|__seg_gs|__seg_fs)\b")
_ARRAY = regex(r"(.*)\[(\d*)\]")
#: where dynamic data is: counted from the record's start, or from the end of the field that says it
DYNAMIC = MappingProxyType({"__data_loc ": False, "__rel_loc ": True})
#: types that C knows by itself -> bytes, signed; all others are typedefs, which BTF knows
_PLAIN = MappingProxyType({
    "char": (1, False), "signed char": (1, True), "unsigned char": (1, False), "short": (2, True),
    "unsigned short": (2, False), "int": (4, True), "unsigned": (4, False), "unsigned int": (4, False),
    "long": (8, True), "unsigned long": (8, False), "long long": (8, True), "unsigned long long": (8, False),
    "pid_t": (4, True), "uid_t": (4, False), "gid_t": (4, False), "umode_t": (2, False), "dev_t": (4, False),
    "u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False), "size_t": (8, False),
    "s8": (1, True), "s16": (2, True), "s32": (4, True), "s64": (8, True), "ssize_t": (8, True),
})  # fmt: skip


def unqualified(text: str) -> str:
    """A C type without ``const``, ``__user`` and the like: ``"char * *"`` of ``"const char *const *"``."""
    return " ".join(_QUALIFIERS.sub(" ", text).split())


def field_shape(
    text: str, size: int, signed: bool, types: Callable[[], Btf | None], user: bool = False
) -> Shape:
    """What a field is by its C type, as a format file writes it.

    Fields of system calls take 8 bytes each, whatever their type: an ``int`` there is the first four.

    :param size: bytes of the field.
    :param signed: as the format file says, of which little is to be believed where the type is known.
    :param types: gives the kernel's types; asked where C alone does not say it, for reading them takes time.
    :param user: pointers are those of the process.
    """
    text = unqualified(text)
    array = _ARRAY.fullmatch(text)
    if array is not None:
        count = int(array[2] or 0)
        element = field_shape(array[1].strip(), size // count if count else 0, signed, types, user)
        return Elements(element, count)
    if text.endswith("*"):
        return Address(*_pointee(text[:-1].strip(), types), user=user)
    if text == "bool":
        return Number(bool_)
    if text == "char" and size <= 1:
        return Number(char)
    plain = _PLAIN.get(text)
    found = types() if plain is None else None
    if found is not None:
        try:
            known = btf_named(found, text)
        except BtfError:
            known = Opaque(text)
        if isinstance(known, (Number, Address)) and known.size <= (size or known.size):
            return known
    if plain is not None and plain[0] <= (size or 8):
        return Number(integer(*plain))
    if size in (1, 2, 4, 8):
        return Number(integer(size, signed))
    return Elements(Number(u8), size) if size else Opaque(text)


def _pointee(text: str, types: Callable[[], Btf | None]) -> tuple[Btf | None, object]:
    """What a pointer to a type refers to: the ``source`` and ``to`` of an :class:`Address`."""
    if text == "char":
        return None, char
    found = types() if text not in ("void", "") and not text.endswith("*") else None
    if found is not None:
        try:
            return found, found.resolve(found.named(text))
        except BtfError:
            pass
    return None, None
