"""The words of a script: one table of tokens, and the lexer made of it."""

from __future__ import annotations

import re
from typing import NoReturn

from pybpf.bt.syntax.source import Source
from pybpf.lazy import regex

__all__ = ["BINARY", "COMPOUND", "END", "KEYWORDS", "LAYOUT", "Token", "lex"]


#: A word: (kind, text, start, end). The kind is "name", "integer", "string" (with its quotes), "map" (``@x`` or ``@``),
#: "variable" (``$x``), "parameter" (``$1``) or "end"; of a sign, the sign itself. A tuple, for there are many.
Token = tuple[str, str, int, int]

END = "end"
#: Space and comments, which separate words.
LAYOUT = r"(?:[ \t\r\n\f\v]+|//[^\n]*|/\*(?s:.)*?\*/)*"

_LONG_SIGNS = (
    "<<=", ">>=", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=",
    "^=", "->", "..", "$#",
)  # fmt: skip
_SIGNS = "+-*/%&|^!~<>=?:;,.()[]{}#"
#: kind -> pattern; the first that matches wins
_TOKENS = {
    "name": r"[A-Za-z_][A-Za-z0-9_]*",
    "variable": r"\$[A-Za-z_][A-Za-z0-9_]*",
    "map": r"@(?:[A-Za-z_][A-Za-z0-9_]*)?",
    "integer": r"[0-9][A-Za-z0-9_]*",
    "string": r'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"',
    "parameter": r"\$[0-9]+",
    "comment": r"/\*",  # one that has an end is layout
    "sign": "|".join(map(re.escape, _LONG_SIGNS)) + f"|[{re.escape(_SIGNS)}]",
    END: r"\Z",
    "wrong": r"(?s:.)",
}
_TOKEN = regex(LAYOUT + "(?:" + "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _TOKENS.items()) + ")")

#: Binary operators and how strongly they bind: C's table.
BINARY = {
    "||": 1,
    "&&": 2,
    "|": 3,
    "^": 4,
    "&": 5,
    "==": 6,
    "!=": 6,
    "<": 7,
    ">": 7,
    "<=": 7,
    ">=": 7,
    "<<": 8,
    ">>": 8,
    "+": 9,
    "-": 9,
    "*": 10,
    "/": 10,
    "%": 10,
}
#: Assignments that compute: sign -> operator.
COMPOUND = {f"{sign}=": sign for sign in ("<<", ">>", "+", "-", "*", "/", "%", "&", "|", "^")}
#: Words that start a statement or an expression. A field or a function argument can still be called so.
KEYWORDS = (
    "break", "comptime", "continue", "else", "for", "if", "import", "let", "offsetof", "return", "sizeof", "typeinfo",
    "typeof", "unroll", "while",
)  # fmt: skip


def lex(source: Source, position: int) -> Token:
    """The first word at or after an offset. :raises CompileError: what stands there is none."""
    match = _TOKEN.match(source.text, position)
    assert match is not None  # the last pattern takes any character
    kind = match.lastgroup
    assert kind is not None
    text = match[kind]
    start, end = match.span(kind)
    if kind == "sign":
        kind = text
    elif kind == "wrong" or kind == "comment":
        _refuse(source, text, start)
    return kind, text, start, end


def _refuse(source: Source, text: str, start: int) -> NoReturn:
    span = (start, start + len(text))
    if text == '"':
        line_end = source.text.find("\n", start)
        span = (start, line_end if line_end >= 0 else len(source.text))
        source.fail(span, 'the string has no end on this line; write " where it ends, and \\n for a new line')
    if text == "'":
        source.fail(span, 'strings are written in double quotes, as in "text"')
    if text == "/*":
        source.fail(span, "the comment has no end; write */ where it ends")
    if text == "$":
        source.fail(span, "'$' needs a name or a number, as in $x or $1")
    source.fail(span, f"the character {text!r} has no meaning here; remove it")
