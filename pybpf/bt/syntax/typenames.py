"""Types as a script writes them: ``uint64``, ``struct sock *``, ``string[64]``, ``typeof($x)``."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from pybpf.bt.syntax import tree
from pybpf.bt.syntax.cursor import Cursor
from pybpf.lazy import regex

__all__ = ["COMPOUND_WORDS", "TypeParser", "is_type_name"]

COMPOUND_WORDS = ("struct", "union", "enum")
_SPECIFIERS = ("unsigned", "signed", "long", "short", "int", "char")
#: Names that are types wherever they stand. Others are where only a type can stand.
_TYPE = regex(
    r"(?:u?int(?:8|16|32|64)(?:_t)?|(?:__)?[us](?:8|16|32|64)|__[bl]e(?:16|32|64)|bool|void|string|buffer|inet"
    r"|unsigned|signed|long|short|int|char|float|double|_Bool|\w+_t)\Z",
    re.ASCII,
)
#: Builtins whose names look like types'.
_NOT_TYPES = frozenset(("ustack", "kstack"))


def is_type_name(name: str) -> bool:
    """Whether a name is a type's wherever it stands."""
    return name not in _NOT_TYPES and _TYPE.match(name) is not None


class TypeParser(Cursor, ABC):
    """Reads types."""

    @abstractmethod
    def expression(self, first: tree.Target | None = None) -> tree.Expression:
        """Any expression; ``first``: its start, read already."""

    def type_at(self, why: str) -> tree.Type:
        """The type that must stand here."""
        start = self.start
        if self.kind == "name" and self.text == "typeof":
            return self.type_of()
        if self.kind == "name" and self.text in COMPOUND_WORDS:
            keyword = self.advance()
            name = self.expect("name", f"after {keyword!r}")
            found: tree.Type = tree.CompoundType(self.since(start), keyword, name)
        else:
            name = self.expect("name", why)
            words = [name]
            while words[-1] in _SPECIFIERS and self.kind == "name" and self.text in _SPECIFIERS:
                words.append(self.advance())
            found = tree.NamedType(self.since(start), " ".join(words))
        return self._suffixes(found, start)

    def _suffixes(self, found: tree.Type, start: int) -> tree.Type:
        levels = 0
        while self.kind in ("*", "["):
            levels += 1
            if self.accept("*"):
                found = tree.PointerType(self.since(start), found)
            else:
                self.advance()
                length = None if self.kind == "]" else self.integer("as the length of the array")
                self.expect("]", "after the length of the array")
                found = tree.ArrayType(self.since(start), found, length)
            self.grow(found.span, levels)
        return found

    def type_of(self) -> tree.TypeOf:
        """``typeof(...)``"""
        start = self.start
        word = self.advance()
        self.expect("(", f"after {word!r}")
        self.enter()
        operand = self.type_or_expression()
        self.depth -= 1
        self.expect(")", f"after what {word!r} is of")
        return tree.TypeOf(self.since(start), operand)

    def type_or_expression(self) -> tree.Type | tree.Expression:
        """What ``sizeof`` and its like take. An unknown name alone is an expression: a later stage knows more."""
        if self.kind == "name":
            mark = self.mark()
            if self.text == "typeof" or self.text in COMPOUND_WORDS:
                return self.type_at("")
            if is_type_name(self.text):
                return self.type_at("")
            if self.peek() in ("*", "[") and self._suffixes_end():
                self.go_back(mark)
                return self.type_at("")
            self.go_back(mark)
        return self.expression()

    def _suffixes_end(self) -> bool:
        """Whether after this name only ``*``, ``[]`` and ``[number]`` come before ``)`` or ``,``; goes forward."""
        self.advance()
        star = False
        while True:
            if self.accept("*"):
                star = True
            elif self.kind == "[":
                self.advance()
                if self.kind == "integer":
                    self.advance()
                elif not star:
                    return False
                if not self.accept("]"):
                    return False
            else:
                return self.kind in (")", ",") and star
