"""Readable names of C++ and Rust symbols."""

from __future__ import annotations

from pybpf.symbols.demangle.itanium import demangle_itanium
from pybpf.symbols.demangle.limits import LONGEST_NAME, NotUnderstood
from pybpf.symbols.demangle.rust import demangle_legacy, demangle_v0

__all__ = ["demangle"]

#: by how a name starts, what to try in turn
_READERS = {"_R": (demangle_v0,), "_Z": (demangle_legacy, demangle_itanium)}


def demangle(name: str) -> str:
    """The name that a programmer wrote: ``demangle("_ZN3foo3barEi")`` is ``"foo::bar(int)"``.

    Knows the Itanium C++ ABI (GCC and Clang; written as by GNU's ``c++filt``) and both manglings of Rust (written as by
    ``rustfilt``, without hashes). Any other name, also one that is damaged or would take too long, is returned
    unchanged; nothing is ever raised, and time and memory are bounded whatever the name is.
    """
    if len(name) > LONGEST_NAME:
        return name
    if name.isascii():
        return _demangled(name)
    try:
        # lengths in a name count bytes: let each be a character
        raw = name.encode("utf-8", "surrogateescape").decode("latin-1")
        return _demangled(raw).encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeError:
        return name


def _demangled(name: str) -> str:
    for read in _READERS.get(name[:2], ()):
        try:
            return read(name)
        except (NotUnderstood, RecursionError):
            continue
    return name
