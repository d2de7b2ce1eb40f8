"""A place in a mangled name: what every reader of one does."""

from __future__ import annotations

from pybpf.symbols.demangle.limits import Budget, NotUnderstood

__all__ = ["Reader", "clones"]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"


class Reader:
    """Reads from the front; whatever does not fit raises :class:`NotUnderstood`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.budget = Budget()

    @property
    def peek(self) -> str:
        """The next character, or ``""``."""
        return self.text[self.at : self.at + 1]

    @property
    def peek2(self) -> str:
        return self.text[self.at : self.at + 2]

    def accept(self, what: str) -> bool:
        """Whether ``what`` comes next; it is passed over then."""
        if not self.text.startswith(what, self.at):
            return False
        self.at += len(what)
        return True

    def expect(self, what: str) -> None:
        if not self.accept(what):
            raise NotUnderstood

    def take(self, count: int) -> str:
        """The next ``count`` characters."""
        taken = self.text[self.at : self.at + count]
        if len(taken) < count:
            raise NotUnderstood
        self.at += count
        return taken

    def digits(self, allowed: str = "0123456789") -> str:
        """As many of the ``allowed`` characters as come next."""
        start = self.at
        while self.peek and self.peek in allowed:
            self.at += 1
        return self.text[start : self.at]

    def number(self) -> int:
        """A decimal number: of any use only below 2**32, so that its size is bounded."""
        digits = self.digits()
        if not 0 < len(digits) < 10:
            raise NotUnderstood
        return int(digits)


def clones(reader: Reader) -> str:
    """``.constprop.0`` at the end of a name: a copy of the function that the compiler made."""
    text = ""
    while reader.peek == ".":
        start = reader.at
        reader.at += 1
        if not reader.digits(_LETTERS) and not reader.peek.isdigit():
            raise NotUnderstood
        reader.digits()
        while reader.peek == "." and reader.text[reader.at + 1 : reader.at + 2].isdigit():
            reader.at += 1
            reader.digits()
        text += f" [clone {reader.text[start : reader.at]}]"
    if reader.peek:
        raise NotUnderstood
    return text
