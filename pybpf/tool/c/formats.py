"""Formats of C's printf: which values they take, and the text that they make."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pybpf.errors import BpfError
from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = ["Format", "Part", "parse_format"]

_DIRECTIVE = regex(r"%(?:%|(?P<flags>[-+ #0]*)(?P<width>\d*)(?P<precision>\.\d*)?(?P<size>hh|h|ll|l|z|j|t)?"
                        r"(?P<kind>[diuoxXcspKU]))")  # fmt: skip
_BITS = {"hh": 8, "h": 16, None: 32, "l": 64, "ll": 64, "z": 64, "j": 64, "t": 64}
_WIDEST = 4096


class Part(NamedTuple):
    """One value of a format."""

    #: ``"number"``, ``"letter"``: a byte of text as a number, ``"text"``; ``"kernel"``, ``"user"``: an address that is
    #: printed as a symbol
    kind: str
    form: str  #: what Python's ``%`` takes
    bits: int
    signed: bool

    def value(self, found: Any) -> Any:
        """What ``form`` is given for a value of the event."""
        if self.kind not in ("number", "letter"):
            return found
        number = found & ((1 << self.bits) - 1)
        number = number - (1 << self.bits) if self.signed and number >> (self.bits - 1) else number
        return number if self.kind == "number" else bytes([number & 0xFF]).decode("utf-8", "surrogateescape")


class Format(NamedTuple):
    """A format."""

    text: str  #: with a ``%s`` of Python for each value
    parts: Sequence[Part]

    def fill(self, values: Sequence[Any], shown: Callable[[Any], str]) -> str:
        """The text.

        :param shown: makes text of a traced program safe.
        """
        cells = []
        for part, found in zip(self.parts, values):
            value = part.value(found)
            cells.append(part.form % (value if part.kind == "number" else shown(value)))
        return self.text % tuple(cells)


def parse_format(text: str) -> Format:
    """A format by its text. :raises BpfError: a directive that is not known."""
    parts: list[Part] = []
    literal = ""
    end = 0
    for match in re.finditer("%", text):
        if match.start() < end:
            continue
        found = _DIRECTIVE.match(text, match.start())
        if not found:
            wrong = text[match.start() : match.start() + 6]
            raise BpfError(f"the format {text!r} has {wrong!r}: values are %d %u %x %o %c %s %p %K %U, with width and "
                           "size as in C; %% is a percent sign")  # fmt: skip
        literal += text[end : match.start()].replace("%", "%%")
        end = found.end()
        if found[0] == "%%":
            literal += "%%"
            continue
        if int(found["width"] or 0) > _WIDEST:
            raise BpfError(f"the format {text!r} has a width of more than {_WIDEST}")
        parts.append(_part(found))
        literal += "%s"
    return Format(literal + text[end:].replace("%", "%%"), parts)


def _part(match: re.Match[str]) -> Part:
    kind, width = match["kind"], match["width"] + (match["precision"] or "")
    flags = match["flags"]
    if kind == "s":
        return Part("text", f"%{flags}{width}s", 64, False)
    if kind in "KU":
        return Part("kernel" if kind == "K" else "user", f"%{flags}{match['width']}s", 64, False)
    if kind == "p":
        return Part("number", f"%#{flags}{match['width']}x", 64, False)
    if kind == "c":
        return Part("letter", f"%{flags}{match['width']}s", 8, False)
    form = {"i": "d", "u": "d"}.get(kind, kind)
    if form == "o" and "#" in flags:  # Python writes 0o17
        flags, form = flags.replace("#", ""), "o"
    return Part("number", f"%{flags}{width}{form}", _BITS[match["size"]], kind in "di")
