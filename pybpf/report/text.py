"""Text from traced programs, made safe to print."""

from __future__ import annotations

__all__ = ["printable"]


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
