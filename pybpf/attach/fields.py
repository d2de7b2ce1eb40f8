"""The fields of a tracepoint's record, from its ``format`` file in tracefs."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["TracepointField", "parse_format"]

_FIELD = re.compile(r"^\tfield:([^;\n]+);\toffset:(\d+);\tsize:(\d+);(?:\tsigned:([01]);)?", re.MULTILINE)
_DECLARATION = re.compile(r"(.*?)(\w+)((?:\[\w*\])*)")
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
        match = _DECLARATION.fullmatch(declared)
        if match and not match[2].startswith(_COMMON):
            kind = match[1].strip() + match[3]
            fields.append(TracepointField(match[2], kind, int(offset), int(size), signed == "1"))
    return sorted(fields, key=lambda field: field.offset)
