"""What numbers, characters and strings of a script stand for."""

from __future__ import annotations

import re

from pybpf.lazy import regex

__all__ = ["LiteralFault", "integer", "quote", "unescape"]

_U64 = (1 << 64) - 1
_U32 = (1 << 32) - 1
_S64 = (1 << 63) - 1

#: suffix -> (largest value before it, what it multiplies by). C's suffixes bound the value and mean nothing else.
_SUFFIXES = {
    "": (_U64, 1),
    "u": (_U32, 1),
    "ul": (_U64, 1),
    "ull": (_U64, 1),
    "l": (_S64, 1),
    "ll": (_S64, 1),
    "ns": (_U64, 1),
    "us": (_U64, 1_000),
    "ms": (_U64, 1_000_000),
    "s": (_U64, 1_000_000_000),
    "m": (_U64, 60_000_000_000),
    "h": (_U64, 3_600_000_000_000),
    "d": (_U64, 86_400_000_000_000),
}

#: digits, then what follows them. A ``d`` that follows hexadecimal digits is one of them.
_INTEGER = regex(
    r"(?:0[xX](?P<hex>[0-9a-fA-F_]+)|0[bB](?P<binary>[01_]+)|(?P<digits>[0-9][0-9_]*)(?:[eE](?P<exponent>[0-9][0-9_]*))?)"
    r"(?P<suffix>[A-Za-z0-9_]*)\Z"
)
#: More digits than 64 bits have in any base: not worth converting (which is quadratic in Python).
_MOST_DIGITS = 80

_ESCAPE = regex(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\"}
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
#: Bytes that are not text, as the "surrogateescape" error handler writes them.
_BYTE = 0xDC00


class LiteralFault(ValueError):
    """A literal that means nothing; ``start`` and ``end`` are offsets in its text."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


def integer(text: str) -> int:
    """``"0x1F"``, ``"017"``, ``"1_000"``, ``"1e6"``, ``"10ms"`` (in nanoseconds), ``"5ULL"`` -> 0 to 2**64-1.

    :raises LiteralFault: not a number, or not one of 64 bits.
    """
    match = _INTEGER.match(text)
    if match is None:
        raise LiteralFault(f"{text[:40]!r} is not a number; write digits, or 0x and hexadecimal digits", 0, len(text))
    value = _value(match, text)
    suffix = match["suffix"]
    # as in C, "u" and "l" are of either case
    known = _SUFFIXES.get(suffix if suffix.islower() else _lower_c(suffix))
    if known is None:
        message = f"a number cannot end in {suffix[:40]!r}; durations end in ns, us, ms, s, m, h or d"
        raise LiteralFault(message, match.start("suffix"), len(text))
    most, factor = known
    if value > most or value * factor > _U64:
        bits = "32" if most == _U32 else "63" if most == _S64 else "64"
        raise LiteralFault(f"{text[:40]} does not fit in {bits} bits", 0, len(text))
    return value * factor


def _lower_c(suffix: str) -> str:
    lower = suffix.lower()
    return lower if lower.strip("ul") == "" else suffix


def _value(match: re.Match[str], text: str) -> int:
    digits = match["hex"] or match["binary"] or match["digits"]
    exponent = match["exponent"] or ""
    for part in (digits, exponent):
        if part.endswith("_"):
            at = text.index(part) + len(part) - 1
            raise LiteralFault("a number cannot end in '_'; write it between digits, as in 1_000", at, at + 1)
    digits = digits.replace("_", "")
    if len(digits) > _MOST_DIGITS:
        raise LiteralFault("the number does not fit in 64 bits", 0, len(text))
    if match["hex"] or match["binary"]:
        return int(digits, 16 if match["hex"] else 2)
    if exponent:
        return _scientific(digits, exponent.replace("_", ""), text)
    if digits[0] == "0" and len(digits) > 1:
        if digits.strip("01234567"):
            message = f"{text[:40]} starts with 0, so it is octal, and has a digit above 7; leave out the 0"
            raise LiteralFault(message, 0, len(text))
        return int(digits, 8)
    return int(digits)


def _scientific(digits: str, exponent: str, text: str) -> int:
    if len(digits) > 1 or digits == "0":
        raise LiteralFault("before the 'e' stands one digit, 1 to 9, as in 2e6", 0, len(text))
    if len(exponent) > 3:
        raise LiteralFault(f"{text[:40]} does not fit in 64 bits", 0, len(text))
    return int(digits) * int("1" + "0" * int(exponent))


def unescape(body: str) -> str:
    """The text between quotes, with its escapes replaced.

    A byte that is not part of UTF-8 text is what the "surrogateescape" error handler makes of it, so that
    ``encode("utf-8", "surrogateescape")`` gives the bytes meant.

    :raises LiteralFault: an escape that means nothing.
    """
    if "\\" not in body:
        return body
    text = _ESCAPE.sub(_escaped, body)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _escaped(match: re.Match[str]) -> str:
    octal, hexadecimal, other = match.groups()
    if other is None:
        value = int(octal, 8) if octal else int(hexadecimal, 16)
        if value > 0xFF:
            raise LiteralFault(f"{match[0]} is more than a byte holds; the largest is \\377", *match.span())
        return chr(value) if value < 0x80 else chr(_BYTE + value)
    if other not in _PLAIN:
        what = "\\x without hexadecimal digits" if other in "xX" else f"\\{other}"
        known = 'write \\n, \\t, \\r, \\", \\\\, \\0 to \\377 or \\x00 to \\xff'
        raise LiteralFault(f"{what} is not an escape; {known}", *match.span())
    return _PLAIN[other]


def quote(value: str) -> str:
    """A string literal whose value is ``value``: the opposite of :func:`unescape`."""
    parts = []
    for each in value:
        code = ord(each)
        if each in _NAMED:
            parts.append(_NAMED[each])
        elif code < 0x20 or code == 0x7F:
            parts.append(f"\\x{code:02x}")
        elif _BYTE + 0x80 <= code <= _BYTE + 0xFF:
            parts.append(f"\\x{code - _BYTE:02x}")
        else:
            parts.append(each)
    return '"' + "".join(parts) + '"'
