"""Rust names: both manglings, the legacy one in C++'s clothes and v0 (RFC 2603); as rustfilt writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pybpf.lazy import regex
from pybpf.symbols.demangle.limits import NotUnderstood
from pybpf.symbols.demangle.reader import Reader, clones

__all__ = ["demangle_legacy", "demangle_v0"]

#: a legacy name ends with a hash, as a part of its own
_HASH = regex(r"17h[0-9a-f]{16}E(?=\.|$)")
#: LLVM makes local names unique across files
_LLVM = regex(r"\.llvm\.[0-9A-Fa-f@]+")
_ESCAPE = regex(r"\$(u[0-9a-f]{1,6}|[A-Z]{1,2})\$|\.\.")
_ESCAPES: Mapping[str, str] = {
    "SP": "@",
    "BP": "*",
    "RF": "&",
    "LT": "<",
    "GT": ">",
    "LP": "(",
    "RP": ")",
    "C": ",",
}
_BASIC: Mapping[str, str] = {
    "a": "i8",
    "b": "bool",
    "c": "char",
    "d": "f64",
    "e": "str",
    "f": "f32",
    "h": "u8",
    "i": "isize",
    "j": "usize",
    "l": "i32",
    "m": "u32",
    "n": "i128",
    "o": "u128",
    "p": "_",
    "s": "i16",
    "t": "u16",
    "u": "()",
    "v": "...",
    "x": "i64",
    "y": "u64",
    "z": "!",
}
_BASE62 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HEX = "0123456789abcdef"
_NAMESPACES: Mapping[str, str] = {"C": "closure", "S": "shim"}
#: Punycode takes quadratic time
_LONGEST_PUNYCODE = 1000


def demangle_legacy(name: str) -> str:
    """The text of ``_ZN3foo3bar17h0123456789abcdefE``, without the hash.

    :raises NotUnderstood: it is not such a name.
    """
    end = _HASH.search(name)
    if end is None:
        raise NotUnderstood
    reader = Reader(name)
    reader.expect("_ZN")
    parts = []
    while reader.at < end.start():
        parts.append(_unescaped(reader.take(reader.number())))
    if reader.at != end.start() or not parts:
        raise NotUnderstood
    reader.at = end.end()
    return "::".join(parts) + _suffix(reader)


def _suffix(reader: Reader) -> str:
    unique = _LLVM.match(reader.text, reader.at)
    if unique:
        reader.at = unique.end()
    return clones(reader)


def _unescaped(part: str) -> str:
    """``$LT$`` is ``<`` and ``..`` is ``::``; an underscore keeps a name from starting with an escape."""
    return _ESCAPE.sub(_escape, part[1:] if part.startswith("_$") else part)


def _escape(found: re.Match[str]) -> str:
    code: str | None = found.group(1)
    if code is None:
        return "::"
    if code[0] != "u":
        return _ESCAPES.get(code, found.group())
    value = int(code[1:], 16)
    return chr(value) if value < 0xD800 or 0xDFFF < value < 0x110000 else found.group()


def demangle_v0(name: str) -> str:
    """The text of a name that starts with ``_R``, without crates' hashes.

    :raises NotUnderstood: it is not one, or costs too much.
    """
    reader = _V0(name)
    reader.expect("_R")
    text = reader.path(in_value=True)
    if reader.peek.isupper():  # the crate that asked for this instance
        reader.path(in_value=False)
    return text + _suffix(reader)


class _V0(Reader):
    """Reads and writes at once: a back reference is read again where it points."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        #: lifetimes that the binders around bind
        self._bound = 0

    def _written(self, text: str) -> str:
        self.budget.spend(len(text))
        return text

    def _base62(self) -> int:
        digits = self.digits(_BASE62)
        self.expect("_")
        if len(digits) > 11:
            raise NotUnderstood
        value = 0
        for digit in digits:
            value = value * 62 + _BASE62.index(digit)
        return value + 1 if digits else 0

    def _optional(self, tag: str) -> int:
        """A number that is 0 where its tag is missing."""
        return self._base62() + 1 if self.accept(tag) else 0

    def _back(self, start: int, read: Callable[[], str]) -> str:
        """What ``read`` finds at the earlier place that a back reference names."""
        target = self._base62() + len("_R")
        if target >= start:
            raise NotUnderstood
        here, self.at = self.at, target
        text = read()
        self.at = here
        return text

    def _identifier(self) -> str:
        """A name without its disambiguator; Unicode is in Punycode, with _ for the last -."""
        punycode = self.accept("u")
        size = 0 if self.accept("0") else self.number()
        self.accept("_")
        text = self.take(size)
        if not punycode:
            return text
        if size > _LONGEST_PUNYCODE:
            raise NotUnderstood
        basic, delimiter, rest = text.rpartition("_")
        try:
            return f"{basic}{'-' if delimiter else ''}{rest}".encode("ascii").decode("punycode")
        except UnicodeError:
            raise NotUnderstood from None

    def path(self, in_value: bool) -> str:
        """A path; within expressions generic arguments follow ``::``."""
        text, is_open = self._open_path(in_value)
        return f"{text}>" if is_open else text

    def _open_path(self, in_value: bool) -> tuple[str, bool]:
        """A path, without the closing bracket of generic arguments; and whether that is missing."""
        self.budget.enter()
        start = self.at
        tag = self.take(1)
        is_open = False
        if tag == "C":
            self._optional("s")
            text = self._identifier()
        elif tag == "N":
            text = self._nested(in_value)
        elif tag in "MX":
            self._optional("s")
            self.path(in_value=False)  # where the impl is written: nobody says that
            text = self._qualified(tag == "X")
        elif tag == "Y":
            text = self._qualified(True)
        elif tag == "I":
            text = self.path(in_value) + ("::<" if in_value else "<") + self._list(self._generic_argument)
            is_open = True
        elif tag == "B":
            places: list[bool] = []
            text = self._back(start, lambda: self._remembering(in_value, places))
            is_open = places[0]
        else:
            raise NotUnderstood
        self.budget.leave()
        return self._written(text), is_open

    def _remembering(self, in_value: bool, is_open: list[bool]) -> str:
        text, opened = self._open_path(in_value)
        is_open.append(opened)
        return text

    def _qualified(self, with_trait: bool) -> str:
        """``<T>`` or ``<T as Trait>``."""
        type_ = self.type()
        return f"<{type_} as {self.path(in_value=False)}>" if with_trait else f"<{type_}>"

    def _nested(self, in_value: bool) -> str:
        namespace = self.take(1)
        if not (namespace.isascii() and namespace.isalpha()):
            raise NotUnderstood
        scope = self.path(in_value)
        number = self._optional("s")
        name = self._identifier()
        if namespace.islower():
            return f"{scope}::{name}" if name else scope
        kind = _NAMESPACES.get(namespace, namespace)
        return f"{scope}::{{{kind}{':' if name else ''}{name}#{number}}}"

    def _list(self, read: Callable[[], str]) -> str:
        """Items up to an E, with commas between."""
        items = []
        while not self.accept("E"):
            items.append(read())
        return ", ".join(items)

    def _generic_argument(self) -> str:
        if self.accept("L"):
            return self._lifetime(self._base62())
        return self._const(False) if self.accept("K") else self.type()

    def _lifetime(self, index: int) -> str:
        """Bound lifetimes are counted from the innermost: ``'a`` is the first of the outermost."""
        if index == 0:
            return "'_"
        depth = self._bound - index
        if depth < 0:
            raise NotUnderstood
        return f"'{chr(ord('a') + depth)}" if depth < 26 else f"'_{depth}"

    def _binder(self) -> str:
        """``for<'a> ``; the caller unbinds what it bound."""
        count = self._optional("G")
        if count > 100:
            raise NotUnderstood
        names = []
        for _ in range(count):
            self._bound += 1
            names.append(self._lifetime(1))
        return f"for<{', '.join(names)}> " if names else ""

    def type(self) -> str:
        """Any type."""
        self.budget.enter()
        start = self.at
        tag = self.take(1)
        if tag in _BASIC:
            text = _BASIC[tag]
        elif tag == "B":
            text = self._back(start, self.type)
        elif tag in _TYPES:
            text = _TYPES[tag](self)
        else:
            self.at = start
            text = self.path(in_value=False)
        self.budget.leave()
        return self._written(text)

    def array(self) -> str:
        return f"[{self.type()}; {self._const(True)}]"

    def slice(self) -> str:
        return f"[{self.type()}]"

    def tuple(self) -> str:
        items = []
        while not self.accept("E"):
            items.append(self.type())
        return _tuple(items)

    def reference(self, mutable: str) -> str:
        index = self._base62() if self.accept("L") else 0
        lifetime = f"{self._lifetime(index)} " if index else ""
        return f"&{lifetime}{mutable}{self.type()}"

    def function(self) -> str:
        saved = self._bound
        text = self._binder()
        text += "unsafe " if self.accept("U") else ""
        if self.accept("K"):
            text += f'extern "{"C" if self.accept("C") else self._identifier().replace("_", "-")}" '
        text += f"fn({self._list(self.type)})"
        if not self.accept("u"):
            text += f" -> {self.type()}"
        self._bound = saved
        return text

    def dyn(self) -> str:
        saved = self._bound
        binder = self._binder()
        traits = []
        while not self.accept("E"):
            traits.append(self._dyn_trait())
        self._bound = saved
        self.expect("L")
        index = self._base62()
        return f"dyn {binder}{' + '.join(traits)}{f' + {self._lifetime(index)}' if index else ''}"

    def _dyn_trait(self) -> str:
        """``Trait<T, Item = U>``."""
        text, is_open = self._open_path(in_value=False)
        while self.accept("p"):
            text += f"{', ' if is_open else '<'}{self._identifier()} = {self.type()}"
            is_open = True
        return f"{text}>" if is_open else text

    def _const(self, in_value: bool) -> str:
        """A constant: as a generic argument what is more than a literal is in braces."""
        self.budget.enter()
        start = self.at
        tag = self.take(1)
        if tag == "B":
            text = self._back(start, lambda: self._const(in_value))
        elif tag in _CONSTS:
            text = _CONSTS[tag](self)
        elif tag == "R" and self.peek == "e":
            self.at += 1
            text = self.string()
        elif tag in _COMPOUND:
            text = _COMPOUND[tag](self)
            text = text if in_value else f"{{{text}}}"
        else:
            raise NotUnderstood
        self.budget.leave()
        return self._written(text)

    def _hex(self) -> int:
        digits = self.digits(_HEX)
        self.expect("_")
        if len(digits) > 32:
            raise NotUnderstood
        return int(digits or "0", 16)

    def integer(self) -> str:
        """Decimal; what takes more than 64 bits is in hexadecimal."""
        sign = "-" if self.accept("n") else ""
        value = self._hex()
        return f"{sign}{value}" if value < 1 << 64 else f"{sign}{value:#x}"

    def boolean(self) -> str:
        value = self._hex()
        if value > 1:
            raise NotUnderstood
        return "true" if value else "false"

    def character(self) -> str:
        value = self._hex()
        if value > 0x10FFFF or 0xD800 <= value <= 0xDFFF:
            raise NotUnderstood
        return _quoted(chr(value), "'")

    def string(self) -> str:
        digits = self.digits(_HEX)
        self.expect("_")
        try:
            return _quoted(bytes.fromhex(digits).decode("utf-8"), '"')
        except ValueError:
            raise NotUnderstood from None

    def consts(self) -> list[str]:
        items = []
        while not self.accept("E"):
            items.append(self._const(True))
        return items

    def const_reference(self, sign: str) -> str:
        return sign + self._const(True)

    def const_value(self) -> str:
        """A struct or enum: its path, and fields without names, with names, or none."""
        kind = self.take(1)
        path = self.path(in_value=True)
        if kind == "U":
            return path
        if kind == "T":
            return f"{path}({', '.join(self.consts())})"
        if kind != "S":
            raise NotUnderstood
        fields = []
        while not self.accept("E"):
            self._optional("s")
            fields.append(f"{self._identifier()}: {self._const(True)}")
        return f"{path} {{ {', '.join(fields)} }}"


def _tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _quoted(text: str, quote: str) -> str:
    """A literal as Rust's ``escape_debug`` writes it."""
    escapes = {"\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", "\0": "\\0", quote: f"\\{quote}"}
    inside = "".join(escapes.get(c, c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)
    return f"{quote}{inside}{quote}"


_TYPES: Mapping[str, Callable[[_V0], str]] = {
    "A": _V0.array,
    "D": _V0.dyn,
    "F": _V0.function,
    "O": lambda reader: f"*mut {reader.type()}",
    "P": lambda reader: f"*const {reader.type()}",
    "Q": lambda reader: reader.reference("mut "),
    "R": lambda reader: reader.reference(""),
    "S": _V0.slice,
    "T": _V0.tuple,
}
_CONSTS: Mapping[str, Callable[[_V0], str]] = {
    **dict.fromkeys("ahijlmnostxy", _V0.integer),
    "b": _V0.boolean,
    "c": _V0.character,
    "p": lambda reader: "_",
}
_COMPOUND: Mapping[str, Callable[[_V0], str]] = {
    "A": lambda reader: f"[{', '.join(reader.consts())}]",
    "Q": lambda reader: reader.const_reference("&mut "),
    "R": lambda reader: reader.const_reference("&"),
    "T": lambda reader: _tuple(reader.consts()),
    "V": _V0.const_value,
    "e": lambda reader: f"*{reader.string()}",
}
