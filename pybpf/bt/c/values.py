"""The values of C's constant expressions, in C's types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from pybpf.bt.c.words import CToken
from pybpf.bt.syntax.cursor import MOST_DEPTH
from pybpf.bt.syntax.literals import LiteralFault, integer, unescape
from pybpf.bt.syntax.source import Source
from pybpf.bt.syntax.tokens import BINARY
from pybpf.record import NamedTuple

__all__ = ["CNumber", "Evaluator"]


class CNumber(NamedTuple):
    """A value of an integer type of 32 or 64 bits."""

    value: int
    bits: int = 32
    signed: bool = True


def _wrap(value: int, bits: int, signed: bool) -> CNumber:
    value &= (1 << bits) - 1
    if signed and value >> (bits - 1):
        value -= 1 << bits
    return CNumber(value, bits, signed)


def _divide(left: int, right: int) -> int:
    """C's division: towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "%": lambda left, right: left - right * _divide(left, right),
    "&": lambda left, right: left & right,
    "|": lambda left, right: left | right,
    "^": lambda left, right: left ^ right,
}
_TESTS: dict[str, Callable[[int, int], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "&&": lambda left, right: bool(left and right),
    "||": lambda left, right: bool(left or right),
}


class Evaluator:
    """Reads one constant expression from words that end in an "end".

    :ivar at: index of the next word.
    """

    def __init__(self, source: Source, words: Sequence[CToken], at: int = 0) -> None:
        self.source = source
        self.words = words
        self.at = at
        self._depth = 0

    # What a subclass knows

    def name(self, word: CToken) -> CNumber:
        """The value of a name."""
        self.fail(word, f"{word.text!r} is not a constant; #define it or write a number")

    def cast_size(self) -> tuple[int, bool] | None:
        """After a ``(``: steps over the type that stands here; (bytes, signed), or None where none stands here."""
        return None

    # Reading

    def fail(self, word: CToken, message: str) -> NoReturn:
        """:raises CompileError: always."""
        self.source.fail(word.span, message)

    def next(self) -> CToken:
        """Step over a word."""
        word = self.words[self.at]
        if word.kind != "end":
            self.at += 1
        return word

    def accept(self, kind: str) -> bool:
        """Step over a sign, if it stands here."""
        if self.words[self.at].kind != kind:
            return False
        self.at += 1
        return True

    def expect(self, kind: str, why: str) -> CToken:
        """Step over what must stand here."""
        word = self.words[self.at]
        if word.kind != kind:
            what = "a name" if kind == "name" else repr(kind)
            found = "the end" if word.kind == "end" else repr(word.text[:40])
            self.fail(word, f"{what} must stand here {why}; found {found}")
        self.at += 1
        return word

    def expression(self) -> CNumber:
        """``a ? b : c`` and all that binds more strongly."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            self.fail(self.words[self.at], f"this nests more than {MOST_DEPTH} levels deep; write it in parts")
        found = self._binary()
        if self.accept("?"):
            then = self.expression()
            self.expect(":", "after the second part of 'condition ? value : value'")
            otherwise = self.expression()
            chosen = then if found.value else otherwise
            found = _wrap(chosen.value, *_common(then, otherwise))
        self._depth -= 1
        return found

    def _binary(self) -> CNumber:
        operands = [self._unary()]
        operators: list[CToken] = []
        while True:
            word = self.words[self.at]
            strength = BINARY.get(word.kind, 0)
            while operators and BINARY[operators[-1].kind] >= strength:
                right = operands.pop()
                operands.append(self._combine(operators.pop(), operands.pop(), right))
            if not strength:
                return operands[0]
            operators.append(self.next())
            operands.append(self._unary())

    def _combine(self, sign: CToken, left: CNumber, right: CNumber) -> CNumber:
        if sign.kind in ("<<", ">>"):
            if not 0 <= right.value < left.bits:
                self.fail(sign, f"a value of {left.bits} bits cannot be shifted by {right.value}")
            shifted = left.value << right.value if sign.kind == "<<" else left.value >> right.value
            return _wrap(shifted, left.bits, left.signed)
        common = _common(left, right)
        values = _wrap(left.value, *common).value, _wrap(right.value, *common).value
        if sign.kind in _TESTS:
            return CNumber(int(_TESTS[sign.kind](*values)))
        if sign.kind in "/%" and not values[1]:
            self.fail(sign, "this divides by zero")
        return _wrap(_ARITHMETIC[sign.kind](*values), *common)

    def _unary(self) -> CNumber:
        signs = []
        while self.words[self.at].kind in ("-", "+", "!", "~"):
            signs.append(self.next().kind)
        found = self._primary()
        for sign in reversed(signs):
            if sign == "!":
                found = CNumber(int(not found.value))
            elif sign != "+":
                found = _wrap(-found.value if sign == "-" else ~found.value, found.bits, found.signed)
        return found

    def _primary(self) -> CNumber:
        word = self.next()
        if word.kind == "(":
            size = self.cast_size()
            if size is None:
                found = self.expression()
                self.expect(")", "after the expression that '(' started")
                return found
            self.expect(")", "after the type")
            self._depth += 1
            if self._depth > MOST_DEPTH:
                self.fail(word, f"this nests more than {MOST_DEPTH} levels deep; write it in parts")
            value = self._unary().value
            self._depth -= 1
            narrow = _wrap(value, 8 * size[0], size[1]).value
            return _wrap(narrow, max(32, 8 * size[0]), size[1] or size[0] < 4)
        if word.kind == "number":
            return self._number(word)
        if word.kind == "char":
            return self._char(word)
        if word.kind == "name":
            return self.name(word)
        found_text = "the end" if word.kind == "end" else repr(word.text[:40])
        self.fail(word, f"a number must stand here; found {found_text}")

    def _number(self, word: CToken) -> CNumber:
        digits = word.text.rstrip("uUlL")
        suffix = word.text[len(digits) :].lower()
        try:
            value = integer(digits)
        except LiteralFault as fault:
            self.fail(word, str(fault))
        decimal = digits[0] != "0" or digits == "0"
        for bits, signed in ((32, True), (32, False), (64, True), (64, False)):
            fits = value >> (bits - signed) == 0
            if fits and (bits == 64 or "l" not in suffix) and signed <= ("u" not in suffix):
                if not signed and decimal and "u" not in suffix and bits == 32:
                    continue  # a decimal number is unsigned only where it says so
                return CNumber(value, bits, signed)
        return CNumber(value, 64, False)

    def _char(self, word: CToken) -> CNumber:
        try:
            body = unescape(word.text[1:-1]).encode("utf-8", "surrogateescape")
        except LiteralFault as fault:
            self.fail(word, str(fault))
        if len(body) != 1:
            self.fail(word, "one character of ASCII stands between '")
        return _wrap(_wrap(body[0], 8, True).value, 32, True)


def _common(left: CNumber, right: CNumber) -> tuple[int, bool]:
    """The type of a result: the wider, and of two as wide the unsigned one."""
    bits = max(left.bits, right.bits)
    return bits, all(each.signed for each in (left, right) if each.bits == bits)
