"""The place where a parser stands: the word there, what may follow it, and how deep it is."""

from __future__ import annotations

from typing import NoReturn

from pybpf.bt.syntax.literals import LiteralFault, integer, unescape
from pybpf.bt.syntax.source import Source, Span
from pybpf.bt.syntax.tokens import END, Token, lex
from pybpf.errors import CompileError

__all__ = ["MOST_DEPTH", "Cursor"]

#: How deep parentheses, blocks and chains of operators may nest: what reads the tree calls itself for each level, and
#: Python's stack ends at about 1000 calls.
MOST_DEPTH = 100

_KINDS = {
    "name": "a name",
    "integer": "a number",
    "string": "a string",
    "map": "a map such as @x",
    "variable": "a variable such as $x",
    "parameter": "a parameter such as $1",
}


class Cursor:
    """Reads the words of a script one by one, and can go back.

    :ivar kind: of the word it stands at: see :class:`pybpf.bt.syntax.tokens.Token`.
    :ivar text: that word.
    :ivar start: its offset.
    :ivar last: the offset at which the word before it ends.
    :ivar height: levels of the expression that was read last.
    """

    def __init__(self, source: Source, position: int = 0) -> None:
        self.source = source
        self.depth = 0
        self.height = 0
        self.last = position
        self._tokens: list[Token] = []
        self._index = 0
        self.seek(position)

    def seek(self, position: int) -> None:
        """Go to the first word at or after an offset."""
        self.last = position
        self._tokens = [lex(self.source, position)]
        self._index = 0
        self.kind, self.text, self.start, self.end = self._tokens[0]

    def advance(self) -> str:
        """Go to the next word; the text of the one left behind."""
        text = self.text
        self.last = self.end
        self._index += 1
        if self._index == len(self._tokens):
            self._tokens.append(lex(self.source, self.end))
        self.kind, self.text, self.start, self.end = self._tokens[self._index]
        return text

    def peek(self, distance: int = 1) -> str:
        """The kind of a word further on."""
        while self._index + distance >= len(self._tokens):
            self._tokens.append(lex(self.source, self._tokens[-1][3]))
        return self._tokens[self._index + distance][0]

    def go_back(self, index: int) -> None:
        """Return to where :meth:`mark` was called."""
        self._index = index
        self.kind, self.text, self.start, self.end = self._tokens[index]

    def mark(self) -> int:
        """This place, for :meth:`go_back`, which can be called until :meth:`forget` is."""
        return self._index

    def forget(self) -> None:
        """Give up the words behind this one: there is no way back to them."""
        del self._tokens[: self._index]
        self._index = 0

    @property
    def span(self) -> Span:
        """Of the word here."""
        return self.start, self.end

    def since(self, start: int) -> Span:
        """From an offset to the end of the word before this one."""
        return start, self.last

    def accept(self, kind: str) -> bool:
        """Step over a sign, if it stands here."""
        if self.kind != kind:
            return False
        self.advance()
        return True

    def accept_word(self, word: str) -> bool:
        """Step over a keyword, if it stands here."""
        if self.kind != "name" or self.text != word:
            return False
        self.advance()
        return True

    def expect(self, kind: str, why: str) -> str:
        """Step over what must stand here; ``why`` ends the message where it does not."""
        if self.kind != kind:
            self.fail_here(f"{_KINDS.get(kind) or repr(kind)} must stand here {why}")
        return self.advance()

    def fail(self, span: Span, message: str) -> NoReturn:
        """:raises CompileError: always; it points at the span."""
        self.source.fail(span, message)

    def fail_here(self, message: str) -> NoReturn:
        """:raises CompileError: always; it points at the word here and says what that is."""
        found = "the end of the script" if self.kind == END else repr(self.text[:40])
        self.fail(self.span, f"{message}; found {found}")

    def enter(self) -> None:
        """Go one level deeper; the caller takes 1 off ``depth`` when it leaves."""
        self.depth += 1
        if self.depth > MOST_DEPTH:
            self.too_deep(self.span)

    def grow(self, span: Span, height: int) -> None:
        """Note how many levels the expression just read has."""
        self.height = height
        if height > MOST_DEPTH:
            self.too_deep(span)

    def too_deep(self, span: Span) -> NoReturn:
        """:raises CompileError: always."""
        self.fail(span, f"this nests more than {MOST_DEPTH} levels deep; use variables for its parts")

    def integer(self, why: str) -> int:
        """The value of the number that must stand here."""
        start = self.start
        text = self.expect("integer", why)
        try:
            return integer(text)
        except LiteralFault as fault:
            raise self._literal(fault, start) from None

    def string(self, why: str) -> str:
        """The value of the string that must stand here."""
        start = self.start
        text = self.expect("string", why)
        try:
            return unescape(text[1:-1])
        except LiteralFault as fault:
            raise self._literal(fault, start + 1) from None

    def _literal(self, fault: LiteralFault, start: int) -> CompileError:
        return self.source.error((start + fault.start, start + fault.end), str(fault))
