"""Formats of ``printf``: read when the script is compiled, applied to the values of each event; C's rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pybpf.bt.show.values import Names, text
from pybpf.bt.types import Special, String
from pybpf.lazy import regex
from pybpf.record import dataclass
from pybpf.types import u64

__all__ = ["Format", "FormatFault", "Piece", "read_format"]

_DIRECTIVE = regex(r"%(?P<flags>[-+ #0]*)(?P<width>\d*)(?P<precision>\.\d*)?(?P<length>hh|h|ll|l|j|z|t)?"
                        r"(?P<conversion>r[xh]?|gr|[a-zA-Z%])", re.DOTALL)  # fmt: skip
_BITS = {"": 32, "hh": 8, "h": 16, "l": 64, "ll": 64, "j": 64, "z": 64, "t": 64}
_SIGNED, _UNSIGNED = "di", "uxXo"
#: room of text of which each is looked at once, for it comes again
_SHORT = 64
#: Flags of the kernel's page allocator.
GFP = Special("gfp", u64)


class FormatFault(ValueError):
    """A format that means nothing; its text says why."""


@dataclass(frozen=True)
class Piece:
    """One directive.

    :ivar text: literal text before it.
    :ivar conversion: a key of :data:`_WAYS`.
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

    def apply(self, kinds: Sequence[Any], values: Sequence[Any], names: Names) -> str:
        """The text of raw values of some types."""
        return next(self.texts(kinds, [(raw,) for raw in values], 1, names))

    def texts(self, kinds: Sequence[Any], columns: Sequence[Sequence[Any]], count: int, names: Names) -> Iterator[str]:
        """The texts of many events: one ``%`` for each.

        :param columns: for each type, the raw values of all events.
        :param count: of events.
        """
        parts: list[str] = []
        shown: list[Iterable[Any]] = []
        for piece, kind, column in zip(self.pieces, kinds, columns):
            way, convert = _WAYS[piece.conversion](piece, kind, names)
            parts += piece.text.replace("%", "%%"), way
            shown.append(convert(column))
        parts.append(self.end.replace("%", "%%"))
        return map("".join(parts).__mod__, zip(*shown) if shown else [()] * count)


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
        if conversion not in _WAYS:
            raise FormatFault(f"%{conversion} is no directive; there are %{', %'.join(_WAYS)} and %%")
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


#: What :meth:`Format.texts` takes for a directive: how Python's ``%`` has it, and what makes its operands.
Way = tuple[str, Callable[[Sequence[Any]], Iterable[Any]]]


def _each(convert: Callable[[Any], Any]) -> Callable[[Sequence[Any]], Iterable[Any]]:
    return lambda column: map(convert, column)


def _integer(piece: Piece, kind: Any, names: Names) -> Way:
    signed, bits = piece.conversion in _SIGNED, piece.bits
    least, most = (-1 << (bits - 1), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)

    def fitting(column: Sequence[Any]) -> Iterable[Any]:
        if least <= min(column) and max(column) <= most:  # as nearly all do: nothing is to be done for each
            return column
        return [_cut(int(raw), bits, signed) for raw in column]

    return f"%{piece.layout}{'d' if piece.conversion == 'u' else piece.conversion}", fitting


def _character(piece: Piece, kind: Any, names: Names) -> Way:
    return f"%{piece.layout}s", _each(lambda raw: bytes([int(raw) & 0xFF]).decode("utf-8", "surrogateescape"))


def _pointer(piece: Piece, kind: Any, names: Names) -> Way:
    return f"%{piece.layout}s", _each(lambda raw: f"0x{int(raw) & ((1 << 64) - 1):x}")


def _text(piece: Piece, kind: Any, names: Names) -> Way:
    room = kind.room if isinstance(kind, String) else 0

    def show(raw: Any) -> str:
        return text(kind, raw, names)

    def show_text(raw: str) -> str:
        return raw if len(raw) < room and raw.isprintable() else text(kind, raw, names)  # as nearly all is

    if 0 < room <= _SHORT:  # names of processes and the like come again and again
        return f"%{piece.layout}s", _each(lru_cache(maxsize=None)(show_text))
    return f"%{piece.layout}s", _each(show_text if room else show)


def _flags(piece: Piece, kind: Any, names: Names) -> Way:
    return f"%{piece.layout}s", _each(lambda raw: names.special(GFP, int(raw) & ((1 << 64) - 1)))


def _bytes(piece: Piece, kind: Any, names: Names) -> Way:
    show = _SHOWN[piece.conversion]
    return "%s", _each(lambda raw: show(bytes(raw.data[: raw.length])))


def escaped(data: bytes) -> str:
    """Bytes as ``%r`` shows them: what is not printable as ``\\xNN``."""
    return "".join(chr(each) if 0x20 <= each < 0x7F else f"\\x{each:02x}" for each in data)


#: Directive for bytes -> their text.
_SHOWN: Mapping[str, Callable[[bytes], str]] = MappingProxyType({
    "r": escaped,
    "rx": lambda data: "".join(f"\\x{each:02x}" for each in data),
    "rh": lambda data: data.hex(" "),
})  # fmt: skip
_WAYS: Mapping[str, Callable[[Piece, Any, Names], Way]] = MappingProxyType({
    **dict.fromkeys((*_SIGNED[:1], *_UNSIGNED), _integer),
    "c": _character,
    "s": _text,
    "p": _pointer,
    "r": _bytes,
    "rx": _bytes,
    "rh": _bytes,
    "gr": _flags,
})  # fmt: skip
