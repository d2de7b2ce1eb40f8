"""Expressions of C as text of Python: operators by a table, names by what the caller says they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from pybpf.errors import BpfError
from pybpf.lazy import regex
from pybpf.record import NamedTuple
from pybpf.tool.c.records import Typed
from pybpf.tool.c.types import CType, ctype, is_type

__all__ = ["Names", "translate"]

_TOKEN = regex(
    r"""\s*(?:(?P<number>0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)(?P<suffix>[uUlL]*)(?![\w.])
    |(?P<char>'(?:\\.|[^'\\])')|(?P<text>"(?:\\.|[^"\\])*")|(?P<name>[\$@]?[A-Za-z_]\w*(?:@user)?)
    |(?P<op>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>?:()\[\].,{}]))""",
    re.VERBOSE,
)
#: operator -> (strength, Python's)
_BINARY = {
    "||": (1, "or"), "&&": (2, "and"), "|": (3, "|"), "^": (4, "^"), "&": (5, "&"), "==": (6, "=="), "!=": (6, "!="),
    "<": (7, "<"), ">": (7, ">"), "<=": (7, "<="), ">=": (7, ">="), "<<": (8, "<<"), ">>": (8, ">>"), "+": (9, "+"),
    "-": (9, "-"), "*": (10, "*"), "/": (10, "//"), "%": (10, "%"),
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_DEEPEST = 100


class Names(NamedTuple):
    """What names mean."""

    value: Callable[[str], str]  #: the Python text of a name; raises BpfError for one that means nothing
    call: Callable[[str, list[str], list[str]], str]  #: of a call: name, arguments in Python, and as they were written
    #: of a cast to a pointer: the type, and the Python of the value
    pointer: Callable[[CType, str], str]
    user: bool  #: pointers that are made by casts lead to memory of the process


class _Condition(str):
    """Python that is true when the expression of C is, but has another value: ``a or b`` gives an operand, not 1."""

    __slots__ = ()


def _value(text: str) -> str:
    """The Python for an expression's value."""
    return f"(1 if {text} else 0)" if isinstance(text, _Condition) else text


def translate(text: str, names: Names, *, condition: bool = False) -> str:
    """An expression of C in Python.

    :param condition: the Python need only be true when the expression is; else it has the same value.
    :raises BpfError: it cannot be read; says what is wrong and where.
    """
    reader = _Reader(text, names)
    result = reader.condition()
    if reader.kind != "end":
        reader.fail(f"{reader.token!r} is not expected here")
    return str(result) if condition else _value(result)


class _Reader:
    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.names = names
        self.depth = 0
        self.end = self.next = 0
        self.kind = self.token = ""
        self.advance()

    def fail(self, why: str) -> NoReturn:
        raise BpfError(f"in {self.text.strip()!r}: {why}")

    def advance(self) -> str:
        """The next token; gives the one before."""
        before = self.token
        self.end = self.next
        rest = self.text[self.next :]
        if not rest.strip():
            self.kind, self.token = "end", "the end"
            return before
        match = _TOKEN.match(self.text, self.next)
        if not match:
            self.fail(f"{rest.strip()[0]!r} means nothing in an expression of C")
        self.next = match.end()
        self.kind = str(match.lastgroup if match.lastgroup != "suffix" else "number")
        self.token = match[self.kind]
        return before

    def take(self, token: str) -> None:
        if self.kind != "op" or self.token != token:
            self.fail(f"{token!r} is missing before {self.token}")
        self.advance()

    def at(self, *tokens: str) -> bool:
        return self.kind == "op" and self.token in tokens

    def expression(self) -> str:
        return _value(self.condition())

    def condition(self) -> str:
        """An expression, or a :class:`_Condition`; so may :meth:`binary` and what that calls."""
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail("it is nested too deeply")
        found = self.binary(1)
        if self.at("?"):
            self.advance()
            then = self.expression()
            self.take(":")
            found = f"({then} if {found} else {self.expression()})"
        self.depth -= 1
        return found

    def binary(self, least: int) -> str:
        left = self.unary()
        while self.kind == "op" and self.token in _BINARY and _BINARY[self.token][0] >= least:
            strength, python = _BINARY[self.advance()]
            right = self.binary(strength + 1)
            if python in ("or", "and"):
                left = _Condition(f"({left} {python} {right})")
            else:
                left = f"({_value(left)} {python} {_value(right)})"
        return left

    def unary(self) -> str:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail("it is nested too deeply")
        if self.at("!"):
            self.advance()
            found = f"(not {self.unary()})"
        elif self.at("-", "~", "+"):
            found = f"({self.advance()}{_value(self.unary())})"
        elif self.at("*"):
            self.advance()
            of = self.unary()
            found = of.item("0") if isinstance(of, Typed) else f"{_value(of)}[0]"
        elif self.at("&"):
            self.fail("'&' gives addresses, of which probes have none")
        else:
            found = self.cast() if self.at("(") else self.postfix(self.primary())
        self.depth -= 1
        return found

    def cast(self) -> str:
        """``(type)value``, or a value in parentheses."""
        depth, close = 0, len(self.text)
        for match in re.finditer(r"[()]", self.text[self.end :]):
            depth += 1 if match[0] == "(" else -1
            if not depth:
                close = self.end + match.start()
                break
        inside = self.text[self.end : close].partition("(")[2]
        words = re.findall(r"\w+|\S", inside)
        if all(word == "*" or re.fullmatch(r"[A-Za-z_]\w*", word) for word in words) and (
            is_type([word for word in words if word != "*"]) or (words and words[-1] == "*")
        ):
            kind = ctype(inside)
            self.next = close + 1
            self.advance()
            value = _value(self.unary())
            if kind.integer and not kind.pointers:
                return f"{kind.name}({value})"
            return self.names.pointer(kind, value)
        self.advance()
        found = self.condition()
        self.take(")")
        if isinstance(found, _Condition) and not self.at("->", ".", "["):
            return found
        return self.postfix(found if isinstance(found, Typed) else f"({_value(found)})")

    def postfix(self, value: str) -> str:
        while self.at("->", ".", "["):
            if self.advance() == "[":
                index = self.expression()
                value = value.item(index) if isinstance(value, Typed) else f"{value}[{index}]"
                self.take("]")
            else:
                if self.kind != "name":
                    self.fail(f"the name of a member is missing before {self.token}")
                name = self.advance()
                value = value.member(name) if isinstance(value, Typed) else f"{value}.{name}"
        return value

    def primary(self) -> str:
        kind, token = self.kind, self.token
        if kind == "number":
            self.advance()
            octal = re.fullmatch(r"0[0-7]+", token)
            return str(int(token, 8) if octal else int(token, 0) if token.strip("0") else 0)
        if kind == "char":
            self.advance()
            return str(ord(_unescaped(token[1:-1])))
        if kind == "text":
            self.advance()
            return repr(_unescaped(token[1:-1]))
        if kind == "name":
            self.advance()
            return self.named(token)
        self.fail(f"a value is missing before {token}")

    def named(self, name: str) -> str:
        if name == "sizeof" and self.at("("):
            inside = self.text[self.next :].partition(")")[0]
            self.next += len(inside) + 1
            self.advance()
            return f"_sizeof({ctype(inside).code(self.names.user)})"
        if not self.at("("):
            return self.names.value(name)
        self.advance()
        if name == "$entry":  # what is asked for is a name, not its value
            written = [self.advance()]
            self.take(")")
            return self.names.call(name, [], written)
        values: list[str] = []
        written = []
        while not self.at(")"):
            start = self.end
            values.append(self.expression() if not self.at("{") else self.bytes())
            written.append(self.text[start : self.end].strip())
            if not self.at(")"):
                self.take(",")
        self.take(")")
        return self.names.call(name, values, written)

    def bytes(self) -> str:
        """``{0x6C, 0x69}``."""
        self.take("{")
        found = []
        while not self.at("}"):
            found.append(self.expression())
            if not self.at("}"):
                self.take(",")
        self.take("}")
        if not all(each.isdigit() and int(each) < 256 for each in found):
            self.fail("bytes are numbers from 0 to 255")
        return repr(bytes(map(int, found)))


def _unescaped(text: str) -> str:
    return re.sub(r"\\(x[0-9a-fA-F]{1,2}|.)",
                  lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "x" and len(m[1]) > 1 else _ESCAPES.get(m[1], m[1]),
                  text)  # fmt: skip
