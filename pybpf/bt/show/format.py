"""Formats of ``printf``: read when the script is compiled, applied to the values of each event; C's rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pybpf.bt.show.values import Names, text
from pybpf.bt.types import Special
from pybpf.lazy import regex
from pybpf.record import dataclass
from pybpf.types import u64

__all__ = ["Format", "FormatFault", "Piece", "read_format"]

_DIRECTIVE = regex(r"%(?P<flags>[-+ #0]*)(?P<width>\d*)(?P<precision>\.\d*)?(?P<length>hh|h|ll|l|j|z|t)?"
                        r"(?P<conversion>r[xh]?|gr|[a-zA-Z%])", re.DOTALL)  # fmt: skip
_BITS = {"": 32, "hh": 8, "h": 16, "l": 64, "ll": 64, "j": 64, "z": 64, "t": 64}
_SIGNED, _UNSIGNED = "di", "uxXo"
#: Flags of the kernel's page allocator.
GFP = Special("gfp", u64)


class FormatFault(ValueError):
    """A format that means nothing; its text says why."""


@dataclass(frozen=True)
class Piece:
    """One directive.

    :ivar text: literal text before it.
    :ivar conversion: a key of :data:`_APPLY`.
    :ivar layout: flags, width and precision, as Python's ``%`` takes them.
    :ivar bits: to how many bits an integer is cut.
    """

    text: str
    conversion: str
    layout: str
    bits: int


@dataclass(frozen=True)
class Format:
    """A format.

    :ivar pieces: its directives.
    :ivar end: literal text behind the last one.
    """

    pieces: tuple[Piece, ...]
    end: str

    def apply(self, values: Sequence[tuple[Any, Any]], names: Names) -> str:
        """The text of pairs of type and raw value."""
        parts = []
        for piece, (kind, raw) in zip(self.pieces, values):
            parts.append(piece.text)
            parts.append(_APPLY[piece.conversion](piece, kind, raw, names))
        parts.append(self.end)
        return "".join(parts)


def read_format(source: str) -> Format:
    """A format. :raises FormatFault: a directive is none."""
    pieces, text, at = [], [], 0
    for match in _DIRECTIVE.finditer(source):
        text.append(source[at : match.start()])
        at = match.end()
        conversion = match["conversion"]
        if conversion == "%":
            text.append("%")
            continue
        if conversion == "i":
            conversion = "d"
        if conversion not in _APPLY:
            raise FormatFault(f"%{conversion} is no directive; there are %{', %'.join(_APPLY)} and %%")
        layout = match["flags"] + match["width"] + (match["precision"] or "")
        pieces.append(Piece("".join(text).replace("%%", "%"), conversion, layout, _BITS[match["length"] or ""]))
        text = []
    rest = source[at:]
    if "%" in rest:
        raise FormatFault("a '%' starts a directive such as %d or %s; write %% for the sign itself")
    return Format(tuple(pieces), "".join(text) + rest)


def _cut(value: int, bits: int, signed: bool) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _integer(piece: Piece, kind: Any, raw: Any, names: Names) -> str:
    signed = piece.conversion in _SIGNED
    code = "d" if piece.conversion == "u" else piece.conversion
    return f"%{piece.layout}{code}" % _cut(int(raw), piece.bits, signed)


def _character(piece: Piece, kind: Any, raw: Any, names: Names) -> str:
    value = int(raw) & 0xFF
    return f"%{piece.layout}s" % bytes([value]).decode("utf-8", "surrogateescape")


def _pointer(piece: Piece, kind: Any, raw: Any, names: Names) -> str:
    return f"%{piece.layout}s" % f"0x{int(raw) & ((1 << 64) - 1):x}"


def _text(piece: Piece, kind: Any, raw: Any, names: Names) -> str:
    return f"%{piece.layout}s" % text(kind, raw, names)


def _flags(piece: Piece, kind: Any, raw: Any, names: Names) -> str:
    return f"%{piece.layout}s" % names.special(GFP, int(raw) & ((1 << 64) - 1))


def _bytes(piece: Piece, kind: Any, raw: Any, names: Names) -> str:
    data = bytes(raw.data[: raw.length])
    if piece.conversion == "rx":
        return "".join(f"\\x{each:02x}" for each in data)
    if piece.conversion == "rh":
        return data.hex(" ")
    return escaped(data)


def escaped(data: bytes) -> str:
    """Bytes as ``%r`` shows them: what is not printable as ``\\xNN``."""
    return "".join(chr(each) if 0x20 <= each < 0x7F else f"\\x{each:02x}" for each in data)


_APPLY: Mapping[str, Callable[[Piece, Any, Any, Names], str]] = MappingProxyType({
    **dict.fromkeys((*_SIGNED[:1], *_UNSIGNED), _integer),
    "c": _character,
    "s": _text,
    "p": _pointer,
    "r": _bytes,
    "rx": _bytes,
    "rh": _bytes,
    "gr": _flags,
})  # fmt: skip
