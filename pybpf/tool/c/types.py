"""C's names of types, as an expression or a signature has them, and what they are in a probe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from pybpf.errors import BpfError
from pybpf.record import NamedTuple

__all__ = ["CType", "ctype", "is_type", "parameter"]

#: words that say nothing here; ``__user`` says whose memory a pointer leads to
_IGNORED = frozenset({"const", "volatile", "restrict", "register", "static", "__user", "__kernel", "__rcu"})
_RECORDS = frozenset({"struct", "union", "enum"})
_SIGNED = {"char": 8, "short": 16, "int": 32, "long": 64}


def _integers() -> Mapping[str, str]:
    found = {"bool": "bool_", "_Bool": "bool_", "void": "u8", "unsigned": "u32", "signed": "s32", "char": "s8"}
    for name, bits in _SIGNED.items():
        for words in (f"{name}", f"{name} int") if name in ("short", "long") else (name,):
            found[words] = found[f"signed {words}"] = f"s{bits}"
            found[f"unsigned {words}"] = f"u{bits}"
    for sign in ("", "signed ", "unsigned "):
        kind = "u64" if sign == "unsigned " else "s64"
        found[f"{sign}long long"] = found[f"{sign}long long int"] = kind
    for bits in (8, 16, 32, 64):
        for name in (f"u{bits}", f"__u{bits}", f"uint{bits}_t", f"u_int{bits}_t"):
            found[name] = f"u{bits}"
        for name in (f"s{bits}", f"__s{bits}", f"int{bits}_t"):
            found[name] = f"s{bits}"
        for name in (f"__be{bits}", f"__le{bits}"):
            found[name] = f"u{bits}"
    found.update(
        size_t="u64", ssize_t="s64", loff_t="s64", off_t="s64", pid_t="s32", uid_t="u32", gid_t="u32", mode_t="u32",
        umode_t="u16", dev_t="u32", sector_t="u64", gfp_t="u32", fmode_t="u32", uintptr_t="u64", intptr_t="s64",
        uint="u32", ulong="u64", ushort="u16", uchar="u8",
    )  # fmt: skip
    return MappingProxyType(found)


_INTEGERS = _integers()


class CType(NamedTuple):
    """A type."""

    name: str  #: of an integer, in pybpf; or ``"struct NAME"``, or a name that only the kernel's types know
    integer: bool
    pointers: int  #: how many ``*`` follow
    user: bool = False  #: ``__user``: it leads to memory of the process

    @property
    def is_text(self) -> bool:
        """``char *``."""
        return self.integer and self.name == "s8" and self.pointers == 1

    def code(self, user: bool) -> str:
        """The type as Python writes it.

        :param user: pointers lead to memory of the process.
        """
        named = self.name if self.integer else repr(self.name)
        for level in range(self.pointers):
            named = f"{'_user_ptr' if user or self.user else '_kernel_ptr'}({'_char' if self.is_text else named})"
            if level:
                return "u64"
        return named


def is_type(words: list[str]) -> bool:
    """Whether words between parentheses, ``*`` left out, are a type rather than a value."""
    words = [word for word in words if word not in _IGNORED]
    if not words:
        return False
    return words[0] in _RECORDS or " ".join(words) in _INTEGERS


def ctype(text: str) -> CType:
    """A type by its text. :raises BpfError: it is none."""
    words = re.findall(r"\w+|\*|\S", text)
    pointers = words.count("*")
    user = "__user" in words
    plain = [word for word in words if word != "*" and word not in _IGNORED]
    name = " ".join(plain)
    if any(not re.fullmatch(r"\w+", word) for word in plain) or not plain:
        raise BpfError(f"{text.strip()!r} is no type: write int, u64, char *, struct NAME *")
    if name in _INTEGERS:
        return CType(_INTEGERS[name], True, pointers, user)
    if plain[0] in _RECORDS and len(plain) != 2:
        raise BpfError(f"{text.strip()!r} is no type: write {plain[0]} NAME")
    if plain[0] not in _RECORDS and len(plain) != 1:
        raise BpfError(f"{text.strip()!r} is no type that is known")
    return CType(name, False, pointers, user)


def parameter(text: str) -> tuple[str, CType]:
    """A parameter of a signature: its name and type. :raises BpfError: it is none."""
    match = re.fullmatch(r"(.*?)(\w+)\s*(\[\s*\d*\s*\])?", text.strip(), re.DOTALL)
    if not match or not match[1].strip():
        raise BpfError(f"{text.strip()!r} is no parameter: write its type and its name, as in int count")
    kind = ctype(match[1])
    return match[2], kind._replace(pointers=kind.pointers + bool(match[3]))
