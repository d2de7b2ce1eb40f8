"""The words of C text."""

from __future__ import annotations

import re

from pybpf.bt.syntax.source import Source, Span
from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = ["CToken", "blank_comments", "words_of"]

_WORD = regex(
    r"""(?:[ \t\r\n\f\v]|\\\n)*(?:
    (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\.?[0-9][A-Za-z0-9_.]*)
    |(?P<string>"[^"\\\n]*(?:\\(?s:.)[^"\\\n]*)*")
    |(?P<char>'[^'\\\n]*(?:\\(?s:.)[^'\\\n]*)*')
    |(?P<sign><<|>>|<=|>=|==|!=|&&|\|\||\.\.\.|[-+*/%&|^!~<>=?:;,.()\[\]{}])
    |(?P<end>\Z)
    |(?P<wrong>(?s:.)))""",
    re.VERBOSE,
)
_COMMENT = regex(
    r""""[^"\\\n]*(?:\\(?s:.)[^"\\\n]*)*"|'[^'\\\n]*(?:\\(?s:.)[^'\\\n]*)*'|(?P<comment>//[^\n]*|/\*(?s:.)*?\*/)"""
)
_NOT_LINE_END = regex(r"[^\n]")


class CToken(NamedTuple):
    """A word of C; kind is "name", "number", "string", "char", "end", or of a sign the sign itself."""

    kind: str
    text: str
    span: Span


def blank_comments(text: str) -> str:
    """The text with spaces for comments, so that everything stays where it is."""
    return _COMMENT.sub(lambda match: _NOT_LINE_END.sub(" ", match[0]) if match["comment"] else match[0], text)


def words_of(source: Source, text: str, start: int, end: int) -> list[CToken]:
    """The words of ``text`` between two offsets, which are ``source``'s, too; it has no comments.

    :raises CompileError: what stands there is no word.
    """
    found: list[CToken] = []
    while True:
        match = _WORD.match(text, start, end)
        assert match is not None  # its last pattern takes any character
        kind = match.lastgroup
        assert kind is not None
        if kind == "end":
            return found
        word = match[kind]
        span = match.span(kind)
        if kind == "wrong":
            source.fail(span, f"{word!r} has no meaning in C definitions; remove it")
        found.append(CToken(word if kind == "sign" else kind, word, span))
        start = match.end()
