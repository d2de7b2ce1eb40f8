"""Text from traced programs, made safe to print."""

from __future__ import annotations

from typing import Any

from pybpf.errors import PackError

__all__ = ["check_look", "printable"]

_STYLES = ("bpftrace", "bcc")


def check_look(style: Any, unit: Any, width: Any = None) -> None:
    """Check what a method ``text()`` is given.

    :raises PackError: no style, a unit that is no text, or a bar's length that is no whole number from 1 on.
    """
    if not isinstance(style, str) or style not in _STYLES:
        raise PackError(f'a style is "bpftrace" or "bcc", not {style!r:.60}')
    if not isinstance(unit, str):
        raise PackError(f'a unit is text such as "usecs", not {unit!r:.60}')
    if width is not None and (not isinstance(width, int) or width < 1):
        raise PackError(f"a bar is at least 1 wide, not {width!r:.60}")


def printable(text: str) -> str:
    r"""``text`` with every character that could drive a terminal, or hide, written as an escape.

    Control characters, surrogates that stand for bytes which are not UTF-8, and invisible or direction-changing
    characters become ``\x1b``, ``\xff`` (the byte), ``\u202e``; a backslash becomes two, so that the result is
    unambiguous. Everything else stays as it is.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        char if char.isprintable() and char != "\\"
        else f"\\x{ord(char) - 0xDC00:02x}" if 0xDC80 <= ord(char) <= 0xDCFF
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )  # fmt: skip
