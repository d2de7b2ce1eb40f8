"""What a probe of trace or argdist attaches to: ``p:c:malloc``, ``r::do_sys_open``, ``t:sched:sched_switch``, ..."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pybpf.errors import BpfError
from pybpf.lazy import regex
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from pybpf.lang import Tracer

__all__ = ["Place", "Spec", "balanced"]

_OFFSET = regex(r"(.*?)\+(0[xX][0-9a-fA-F]+|\d+)")


class Place(NamedTuple):
    """A place of the kernel or of a program."""

    kind: str  #: ``"p"``, ``"r"``, ``"t"`` or ``"u"``
    binary: str  #: a program or library; ``""``: the kernel
    name: str  #: function; ``SYSTEM:EVENT``; ``[PROVIDER:]PROBE``
    offset: int = 0

    @property
    def user(self) -> bool:
        """Whether it is in a process, whose memory pointers lead to."""
        return bool(self.binary)

    @property
    def function(self) -> str:
        """What BCC's column FUNC has: without library, system or provider."""
        return self.name.rpartition(":")[2] if self.kind in "tu" else self.name

    @staticmethod
    def parse(text: str) -> Place:
        """By its text. :raises BpfError: it cannot be read."""
        parts = text.split(":")
        if len(parts) == 1:
            parts = ["p", "", *parts]
        elif parts[0] not in ("p", "r", "t", "u", ""):
            parts = ["p", *parts]
        kind = parts[0] or "p"
        if kind == "t":
            if len(parts) != 3 or not all(parts[1:]):
                raise BpfError(f"{text!r}: a tracepoint is written as t:SYSTEM:EVENT")
            return Place("t", "", ":".join(parts[1:]))
        if len(parts) < 3:
            raise BpfError(f"{text!r}: write {kind}::FUNCTION of the kernel, or {kind}:LIBRARY:FUNCTION")
        binary, name = parts[1], ":".join(parts[2:])
        if not name or (kind == "u" and not binary):
            what = "u:LIBRARY:PROBE" if kind == "u" else f"{kind}:[LIBRARY]:FUNCTION"
            raise BpfError(f"{text!r} names nothing to trace: write {what}")
        match = _OFFSET.fullmatch(name) if kind == "p" else None
        if match:
            return Place(kind, binary, match[1], int(match[2], 0))
        return Place(kind, binary, name)

    def attach(self, tracer: Tracer, source: str) -> Callable[[Any], Any]:
        """The decorator of a tracer for it."""
        if self.kind == "t":
            return tracer.tracepoint(self.name, source=source)
        if self.kind == "u":
            return tracer.usdt(self.binary, self.name, source=source)
        if self.kind == "r":
            if self.user:
                return tracer.uretprobe(self.binary, self.name, source=source)
            return tracer.kretprobe(self.name, source=source)
        if self.user:
            return tracer.uprobe(self.binary, self.name, offset=self.offset, source=source)
        return tracer.kprobe(self.name, offset=self.offset, source=source)


class Spec(NamedTuple):
    """A probe of trace: ``PLACE[(signature)] [(predicate)] ["format"[, expression]...]``."""

    place: Place
    signature: str
    predicate: str
    format: str | None
    expressions: tuple[str, ...]
    text: str

    @staticmethod
    def parse(text: str) -> Spec:
        """By its text. :raises BpfError: it cannot be read."""
        match = re.match(r"\s*([^\s(]+)", text)
        if not match:
            raise BpfError("a probe is empty: write what to trace, as in 'p:c:malloc \"%lu\", arg1'")
        place, rest = Place.parse(match[1]), text[match.end() :]
        signature = predicate = ""
        if rest.startswith("("):
            signature, rest = balanced(rest)
            if place.kind in "tu":
                raise BpfError(f"{text!r}: a signature is for functions; those have their own arguments")
        rest = rest.lstrip()
        if rest.startswith("("):
            predicate, rest = balanced(rest)
        rest = rest.strip()
        if not rest:
            return Spec(place, signature, predicate, None, (), text)
        quoted = re.match(r'"((?:\\.|[^"\\])*)"', rest)
        if not quoted:
            raise BpfError(f"{text!r}: a format in quotation marks is expected, not {rest:.40}")
        behind = rest[quoted.end() :].strip()
        if behind and not behind.startswith(","):
            raise BpfError(f"{text!r}: a comma is expected behind the format, not {behind:.40}")
        values = split(behind[1:], ",") if behind else []
        return Spec(place, signature, predicate, quoted[1], tuple(values), text)


def balanced(text: str) -> tuple[str, str]:
    """What is in the parentheses that a text begins with, and what is behind. :raises BpfError: they are not closed."""
    depth = 0
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|[()]', text):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return text[1 : match.start()], text[match.end() :]
    raise BpfError(f"parentheses are not closed in {text!r}")


def split(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that are in no parentheses, brackets or quotation marks."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|' + re.escape(separator) + r"|[(){}\[\]]", text):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(match[0], 0)
        if match[0] == separator and not depth:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    return [*parts, text[start:].strip()]
