"""Raw values of a type as Python's own, and as the text that bpftrace prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from pybpf.bt.types import (
    Aggregate,
    Array,
    Bool,
    Buffer,
    Compound,
    Integer,
    Pointer,
    Record,
    Special,
    String,
    Tuple,
    Type,
)
from pybpf.report import Stats, TimeSeries
from pybpf.report.histogram import Histogram
from pybpf.types import layout

__all__ = ["Names", "plain", "safe", "text"]


class Names(Protocol):
    """What knows the text of special values: names of addresses and the like."""

    def special(self, kind: Special, raw: Any) -> str:
        """The text of a special value."""

    def trailer(self, room: int) -> str:
        """What is appended to text that fills all its room: that of ``str()`` was cut off then."""


def safe(value: str) -> str:
    """Text of a traced program, so that it cannot drive a terminal: control bytes are escaped, but for \\n and \\t."""
    if value.isprintable():
        return value
    return "".join(map(_safe, value))


def _safe(char: str) -> str:
    if char.isprintable() or char in "\n\t":
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


# as Python's own


def plain(kind: Type, raw: Any, names: Names) -> Any:
    """A raw value as an int, a bool, a str, bytes, a list, a tuple or a dict; aggregates are what the map made."""
    if isinstance(kind, Record):
        return {name: plain(each, item, names) for (name, each), item in zip(kind.fields, raw)}
    if isinstance(kind, Tuple):
        return tuple(plain(each, item, names) for each, item in zip(kind.items, raw))
    if isinstance(kind, String):
        return _whole(kind, raw, names)
    if isinstance(kind, Buffer):
        return bytes(raw.data[: raw.length])
    if isinstance(kind, Array):
        return [plain(kind.item, item, names) for item in _items(kind, raw)]
    if isinstance(kind, Compound):
        return {name: plain(each, item, names) for name, each, item in _members(kind, raw)}
    if isinstance(kind, Special):
        return names.special(kind, raw)
    return raw


def _whole(kind: String, raw: str, names: Names) -> str:
    """Text; a trailer shows where its end did not fit."""
    if len(raw) < kind.room:  # a byte is a character at most
        return raw
    full = len(raw.encode("utf-8", "surrogateescape")) >= kind.room
    return raw + names.trailer(kind.room) if full else raw


def _items(kind: Array, raw: Any) -> Sequence[Any]:
    if isinstance(raw, bytes):
        return [raw[at] for at in range(kind.length)] if kind.length else []
    return raw  # type: ignore[no-any-return]


def _members(kind: Compound, raw: bytes) -> list[tuple[str, Type, Any]]:
    """The members of a struct in bytes: name, type, raw value."""
    found = []
    for name in kind.names():
        member = kind.member(name)
        if member is None:
            continue
        if member.bits is not None:
            bits = member.bits
            word = int.from_bytes(raw[bits.offset : bits.offset + bits.size], "little")
            value = ((word << bits.left) & ((1 << 64) - 1)) >> bits.right
            found.append((name, member.type, value))
        elif member.type.size:
            found.append((name, member.type, layout(member.type.kind).unpack(raw, member.offset)))
    return found


# as text


def text(kind: Type, raw: Any, names: Names) -> str:
    """A raw value as bpftrace prints it."""
    return _TEXT[next(each for each in type(kind).__mro__ if each in _TEXT)](kind, raw, names)


def _integer(kind: Any, raw: Any, names: Names) -> str:
    return kind.names.get(int(raw), str(int(raw))) if kind.enum else str(int(raw))


def _bool(kind: Any, raw: Any, names: Names) -> str:
    return "true" if raw else "false"


def _string(kind: Any, raw: Any, names: Names) -> str:
    return safe(_whole(kind, raw, names))


def _buffer(kind: Any, raw: Any, names: Names) -> str:
    from pybpf.bt.show.format import escaped

    return escaped(bytes(raw.data[: raw.length]))


def _pointer(kind: Any, raw: Any, names: Names) -> str:
    return f"0x{raw:x}"


def _array(kind: Any, raw: Any, names: Names) -> str:
    return f"[{','.join(text(kind.item, item, names) for item in _items(kind, raw))}]"


def _tuple(kind: Any, raw: Any, names: Names) -> str:
    return f"({', '.join(text(each, item, names) for each, item in zip(kind.items, raw))})"


def _fields(pairs: Sequence[tuple[str, str]]) -> str:
    return "{ " + ", ".join(f".{name} = {value}" for name, value in pairs) + " }" if pairs else "{}"


def _record(kind: Any, raw: Any, names: Names) -> str:
    return _fields([(name, text(each, item, names)) for (name, each), item in zip(kind.fields, raw)])


def _compound(kind: Any, raw: Any, names: Names) -> str:
    return _fields([(name, text(each, item, names)) for name, each, item in _members(kind, raw)])


def _special(kind: Any, raw: Any, names: Names) -> str:
    return names.special(kind, raw)


def _aggregate(kind: Any, raw: Any, names: Names) -> str:
    if isinstance(raw, Stats):
        return _fields([("count", str(raw.count)), ("average", str(raw.average)), ("total", str(raw.total))])
    return raw.text() if isinstance(raw, (Histogram, TimeSeries)) else str(int(raw))


_TEXT: Mapping[type[Type], Callable[[Any, Any, Names], str]] = MappingProxyType({
    Aggregate: _aggregate,
    Array: _array,
    Bool: _bool,
    Buffer: _buffer,
    Compound: _compound,
    Integer: _integer,
    Pointer: _pointer,
    Record: _record,
    Special: _special,
    String: _string,
    Tuple: _tuple,
})  # fmt: skip
