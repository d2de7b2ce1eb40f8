"""The fields of a tracepoint's record, from its ``format`` file in tracefs."""

from __future__ import annotations

import re

from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = ["TracepointField", "parse_format"]

_FIELD = regex(r"^\tfield:([^;\n]+);\toffset:(\d+);\tsize:(\d+);(?:\tsigned:([01]);)?", re.MULTILINE)
_WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
_COMMON = "common_"


class TracepointField(NamedTuple):
    """One field of the record that a program of type TRACEPOINT gets as its context."""

    name: str
    type: str  #: as the kernel writes it, without the name: ``"const char *"``, ``"char[16]"``, ``"__data_loc char[]"``
    offset: int  #: bytes from the start of the record
    size: int  #: bytes; 4 for ``__data_loc``, which holds where the data is
    signed: bool

    @property
    def declaration(self) -> str:
        """As in C: ``"char prev_comm[16]"``."""
        kind, bracket, length = self.type.partition("[")
        return f"{kind.strip()} {self.name}{bracket}{length}"


def parse_format(text: str) -> list[TracepointField]:
    """The fields in order of offset, without those that all tracepoints have (``common_pid`` and so on)."""
    fields = []
    for declared, offset, size, signed in _FIELD.findall(text):
        kind, name, lengths = _declaration(declared)
        if name and not name.startswith(_COMMON):
            fields.append(TracepointField(name, kind + lengths, int(offset), int(size), signed == "1"))
    return sorted(fields, key=lambda field: field.offset)


def _declaration(text: str) -> tuple[str, str, str]:
    """``"char prev_comm[16]"`` is ``("char", "prev_comm", "[16]")``; ``"__data_loc char[] s"`` ends with its name."""
    end = len(text)
    while end and text[end - 1] == "]":
        end = max(text.rfind("[", 0, end), 0)
    name = len(text[:end].rstrip(_WORD))
    return text[:name].strip(), text[name:end], text[end:]
