"""Where probes go: ``kprobe:vfs_*``, ``uprobe:libc:malloc+4``, ``interval:s:1`` and the rest; patterns of ``-l``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NoReturn

from pybpf.bt.syntax.kinds import ALIASES, HARDWARE, KINDS, SOFTWARE, Kind
from pybpf.bt.syntax.literals import LiteralFault, integer
from pybpf.lazy import regex
from pybpf.record import NamedTuple, dataclass, replace
from pybpf.sys.near import did_you_mean

__all__ = ["AttachFault", "AttachPoint", "has_wildcard", "kind_of", "parameters", "read", "search", "split_name"]


@dataclass(frozen=True)
class AttachPoint:
    """One place where a probe goes, wildcards not yet expanded.

    :ivar kind: canonical name, such as ``"kprobe"``.
    :ivar target: kernel module, tracepoint category, file of a user probe, unit of time (``"s"``, ``"ms"``, ``"us"``,
        ``"hz"``), event of ``software`` and ``hardware``, ``"signal"`` of ``self``, ``"bpf"``; or ``""``.
    :ivar function: function, tracepoint, USDT probe, iterator, signal, test; or ``""``.
    :ivar offset: bytes from the function's start.
    :ivar address: instead of a function, or None.
    :ivar provider: of a USDT probe, or ``""``.
    :ivar language: ``"cpp"`` where the function is a demangled name, or ``""``.
    :ivar source: (file, line, column or 0) where a user probe names a line, or None.
    :ivar count: period or frequency in units of ``target``; events per sample, 0 where not said.
    :ivar program: id of a BPF program, 0 for any.
    :ivar length: bytes that are watched.
    :ivar argument: number of the argument whose address is watched, or None.
    :ivar mode: of a watchpoint: letters of ``rwx``.
    :ivar pin: path to pin an iterator at, or ``""``.
    :ivar optional: came of a wildcard in the kind: nothing need match.
    """

    kind: str
    target: str = ""
    function: str = ""
    offset: int = 0
    address: int | None = None
    provider: str = ""
    language: str = ""
    source: tuple[str, int, int] | None = None
    count: int = 0
    program: int = 0
    length: int = 0
    argument: int | None = None
    mode: str = ""
    pin: str = ""
    optional: bool = False

    @property
    def text(self) -> str:
        """The canonical way to write it, which reads back as the same."""
        return ":".join([self.kind, *_WRITERS[self.kind](self)])


class AttachFault(ValueError):
    """Text that is no attach point; ``start`` and ``end`` are offsets in it."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


class _Part(NamedTuple):
    """What stands between colons."""

    text: str
    start: int
    end: int

    def fail(self, message: str) -> NoReturn:
        raise AttachFault(message, self.start, max(self.end, self.start + 1))

    def number(self, what: str, durations: bool = False) -> int:
        """The value of the part; ``what`` says what it is."""
        try:
            value = integer(self.text)
        except LiteralFault as fault:
            if not self.text:
                self.fail(f"{what} is missing; write a number after the ':'")
            self.fail(f"{what} must be a number: {fault}")
        if not durations and _DURATION.search(self.text):
            self.fail(f"{what} is a number without a unit")
        return value


_DURATION = regex(r"(?<![xX])\b[0-9_eE]+(?:[num]?s|[mhd])$")
_PARAMETER = regex(r'"(?:[^"\\]|\\.)*"|\$([0-9]*)', re.DOTALL)
_NAMED = regex(r"([A-Za-z_][A-Za-z0-9_]*)=(?=.)", re.DOTALL)
_UNITS = ("s", "ms", "us", "hz")
_ARGUMENT = regex(r"arg([0-9])\Z")


def has_wildcard(text: str) -> bool:
    """Whether the text is a pattern."""
    return "*" in text or ("[" in text and "]" in text) or "?" in text


def kind_of(name: str) -> Kind | None:
    """The kind that a name or short name of any case means."""
    return ALIASES.get(name) or ALIASES.get(name.lower())


def split_name(text: str) -> tuple[str, str]:
    """``"mine=kprobe:f"`` -> ``("mine", "kprobe:f")``; without a name, ``""``."""
    match = _NAMED.match(text)
    return (match[1], text[match.end() :]) if match else ("", text)


def parameters(text: str) -> list[int]:
    """The numbers of the ``$1``, ``$2``, ... outside quotes. :raises AttachFault: a ``$`` without a number."""
    found = []
    for match in _PARAMETER.finditer(text):
        if match[0][0] != "$":
            continue
        if not match[1].lstrip("0") or len(match[1]) > 9:
            message = "'$' needs the number of an argument, as in $1; put the part in quotes where '$' is meant itself"
            raise AttachFault(message, *match.span())
        found.append(int(match[1]))
    return found


def read(text: str, arguments: Sequence[str] = ()) -> tuple[AttachPoint, ...]:
    """What the text of an attach point says: several where its kind has wildcards.

    :param arguments: the script's arguments, for ``$1`` and so on.
    :raises AttachFault: not an attach point.
    """
    whole = text
    for number in parameters(text):
        if number > len(arguments):
            at = text.index("$")
            count = f"{len(arguments)} argument{'s'[: len(arguments) != 1]}"
            raise AttachFault(f"${number} has no value: the script was given {count}", at, at + len(f"${number}"))
    if "$" in text:
        text = _PARAMETER.sub(lambda match: arguments[int(match[1]) - 1] if match[1] else match[0], text)
    try:
        return tuple(_read(text))
    except AttachFault as fault:
        if text is whole:
            raise
        raise AttachFault(str(fault), 0, len(whole)) from None


def search(text: str) -> tuple[AttachPoint, ...]:
    """What a pattern of ``-l`` asks for: a kind alone, a pattern alone (of any kind), or an attach point.

    :raises AttachFault: no such kind.
    """
    head, *rest = _split(text)
    if not rest and kind_of(head.text) is None:
        rest, head = [head], _Part("*", 0, 0)
    found = []
    for kind in _kinds(head, rest):
        parts = list(rest)
        star = _Part("*", 0, 0)
        if len(parts) == 1 and kind.name == "tracepoint":
            parts.insert(0, star)
        wanted = 2 if kind.path and kind.name != "iter" else 0 if kind.name in ("begin", "end") else 1
        parts += [star] * (wanted - len(parts))
        point = _point(kind, head, parts, choice=has_wildcard(head.text), listing=True)
        if point is not None:
            found.append(point)
    return tuple(found)


def _read(text: str) -> list[AttachPoint]:
    head, *rest = _split(text)
    kinds = _kinds(head, rest)
    if not has_wildcard(head.text):
        point = _point(kinds[0], head, rest)
        assert point is not None  # only where there is a choice
        return [point]
    points = [_point(kind, head, rest, choice=True) for kind in kinds]
    found = [replace(point, optional=True) for point in points if point is not None]
    if not found:
        head.fail(f"no kind that {head.text!r} matches is written with {len(rest)} parts after it")
    return found


def _kinds(head: _Part, rest: list[_Part]) -> list[Kind]:
    if has_wildcard(head.text):
        which = "user" if rest and "/" in rest[0].text else "kernel"
        found = [kind for kind in KINDS.values() if kind.listed == which and fnmatchcase(kind.name, head.text.lower())]
        if not found:
            listed = ", ".join(kind.name for kind in KINDS.values() if kind.listed == which)
            head.fail(f"no kind of probe matches {head.text!r}; those with wildcards are {listed}")
        return found
    kind = kind_of(head.text)
    if kind is None:
        hint = did_you_mean(head.text.lower(), KINDS) or f"; the kinds are {', '.join(KINDS)}"
        head.fail(f"there is no kind of probe {head.text[:60]!r}{hint}")
    return [kind]


def _split(text: str) -> list[_Part]:
    """The parts between colons, quotes taken off; the ``@`` of a source line is a part of its own."""
    parts: list[_Part] = []
    chars: list[str] = []
    start = at = 0
    quoted = False
    source = (kind_of(text.partition(":")[0]) or KINDS["begin"]).name == "uprobe"
    while at < len(text):
        each = text[at]
        if not quoted and (each == ":" or (each == "@" and source)):
            parts.append(_Part("".join(chars), start, at))
            if each == "@":
                parts.append(_Part("@", at, at + 1))
            chars, start = [], at + 1
        elif each == '"':
            quoted = not quoted
        elif each == "\\" and quoted and at + 1 < len(text):
            at += 1
            chars.append(text[at])
        else:
            chars.append(each)
        at += 1
    if quoted:
        raise AttachFault('the quotes have no end; write " where they end', start, len(text))
    return [*parts, _Part("".join(chars), start, at)]


def _point(
    kind: Kind, head: _Part, parts: list[_Part], choice: bool = False, listing: bool = False
) -> AttachPoint | None:
    """What one kind makes of the parts; None where it is one of several kinds and the parts are not its."""
    reader, counts = _READERS[kind.name]
    if len(parts) not in counts:
        if kind.name == "uprobe" and any(part.text == "@" for part in parts):
            pass
        elif choice:
            return None
        else:
            _refuse(kind, head, parts)
    if not listing:
        for part in parts:
            if not part.text:
                part.fail(f"nothing stands after the ':'; write {_forms(kind)}")
    try:
        return reader(kind.name, parts, listing)
    except AttachFault:
        if choice:
            return None
        raise


def _forms(kind: Kind) -> str:
    *others, last = kind.forms
    return f"{', '.join(others)} or {last}" if others else last


def _refuse(kind: Kind, head: _Part, parts: list[_Part]) -> NoReturn:
    end = parts[-1].end if parts else head.end
    what = "needs more" if len(parts) < min(_READERS[kind.name][1]) else "cannot have so many parts"
    raise AttachFault(f"{kind.name} {what}; write {_forms(kind)}", head.start, end)


# One reader for each way of writing: (kind, parts after it, listing) -> the attach point.


def _bare(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    return AttachPoint(kind)


def _named(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    return AttachPoint(kind, function=parts[0].text)


def _self(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    trigger, signal = parts
    if trigger.text != "signal" or signal.text != "SIGUSR1":
        (trigger if trigger.text != "signal" else signal).fail("the one probe of this kind is self:signal:SIGUSR1")
    return AttachPoint(kind, trigger.text, signal.text)


def _timed(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    if listing and any(has_wildcard(part.text) for part in parts):
        return AttachPoint(kind, "*")
    if len(parts) == 1:
        nanoseconds = parts[0].number("the period", durations=True)
        if nanoseconds < 1000:
            parts[0].fail(f"the shortest period is 1us, and this is {nanoseconds} ns; write a unit, as in 1s")
        return AttachPoint(kind, "us", count=nanoseconds // 1000)
    unit, count = parts
    if unit.text not in _UNITS:
        unit.fail(f"{unit.text!r} is not a unit of time; write {', '.join(_UNITS[:-1])} or {_UNITS[-1]}")
    value = count.number("the rate" if unit.text == "hz" else "the period")
    if not value:
        count.fail(f"{kind} needs a number above 0")
    return AttachPoint(kind, unit.text, count=value)


def _tracepoint(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    if len(parts) == 1:  # with a wildcard, the event is more likely what is meant
        if not has_wildcard(parts[0].text):
            parts[0].fail(f"{kind} needs a category and an event; write {kind}:category:event")
        return AttachPoint(kind, "*", parts[0].text)
    return AttachPoint(kind, parts[0].text, parts[1].text)


def _module(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    return AttachPoint(kind, parts[0].text if len(parts) == 2 else "", parts[-1].text)


def _offset(point: AttachPoint, part: _Part, allowed: bool) -> AttachPoint:
    """A point with the function, function and offset or address that a part names."""
    function, plus, offset = part.text.partition("+")
    if plus:
        if not allowed:
            part.fail(f"{point.kind} cannot have an offset: it fires at a function's return; leave out '+{offset}'")
        if not function:
            part.fail("the function before '+' is missing; write function+offset")
        at = _Part(offset, part.start + len(function) + 1, part.end)
        return replace(point, function=function, offset=at.number("the offset"))
    if part.text[:1].isdigit():
        return replace(point, address=part.number("the address"))
    return replace(point, function=part.text)


def _kprobe(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    point = AttachPoint(kind, parts[0].text if len(parts) == 2 else "")
    return _offset(point, parts[-1], kind == "kprobe")


def _fentry(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    if parts[0].text != "bpf":
        if len(parts) == 3:
            parts[2].fail(f"only {kind}:bpf:id:program has three parts; write {_forms(KINDS[kind])}")
        return _module(kind, parts, listing)
    if len(parts) == 1:
        parts[0].fail(f"the BPF program's name is missing; write {kind}:bpf:program or {kind}:bpf:id:program")
    program = 0
    if len(parts) == 3 and parts[1].text != "*":
        program = parts[1].number("the BPF program's id (or '*')")
    return AttachPoint(kind, "bpf", parts[-1].text, program=program)


def _uprobe(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    point = AttachPoint(kind, parts[0].text)
    if len(parts) > 1 and parts[1].text == "@":
        return _line(point, parts)
    for part in parts:
        if part.text == "@":
            part.fail("a source line stands after the file, as in uprobe:file@a.c:12")
    if len(parts) == 3:
        if parts[1].text != "cpp":
            parts[1].fail(f"{parts[1].text!r} is not a language whose names are demangled; write cpp")
        return replace(point, language="cpp", function=parts[2].text)  # a '+' can be part of the name
    point = _offset(point, parts[-1], kind == "uprobe")
    if point.address is not None and has_wildcard(point.target):
        parts[0].fail("an address is one of one file; write the file without wildcards")
    return point


def _line(point: AttachPoint, parts: list[_Part]) -> AttachPoint:
    """``file @ source : line [: column]``"""
    if len(parts) not in (4, 5):
        parts[-1].fail("a source line is written uprobe:file@source:line or uprobe:file@source:line:column")
    if has_wildcard(point.target):
        parts[0].fail("a source line is of one file; write the file without wildcards")
    column = parts[4].number("the column") if len(parts) == 5 else 0
    return replace(point, source=(parts[2].text, parts[3].number("the line"), column))


def _usdt(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    provider = parts[1].text if len(parts) == 3 else ""
    return AttachPoint(kind, parts[0].text, parts[-1].text, provider=provider)


def _event(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    event = parts[0]
    known = SOFTWARE if kind == "software" else HARDWARE
    short = {alias: name for name, alias in known.items() if alias}
    if has_wildcard(event.text):
        if not listing:
            event.fail(f"{kind} takes no wildcards; write one of {', '.join(known)}")
    elif event.text not in known and event.text not in short:
        hint = did_you_mean(event.text, [*known, *short]) or f"; they are {', '.join(known)}"
        event.fail(f"there is no {kind} event {event.text!r}{hint}")
    count = parts[1].number("the count") if len(parts) == 2 and parts[1].text != "*" else 0
    return AttachPoint(kind, short.get(event.text, event.text), count=count)


def _watchpoint(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    place, length, mode = parts
    function, plus, name = place.text.partition("+")
    argument = _ARGUMENT.match(name)
    address = None
    if plus and (not argument or not function):
        place.fail("what is watched is an address or the target of an argument, as in function+arg0")
    if not plus:
        address = place.number("the address")
        if not address:
            place.fail("the address 0 cannot be watched")
    size = length.number("the length")
    if size not in (1, 2, 4, 8):
        length.fail("1, 2, 4 or 8 bytes can be watched")
    if set(mode.text) - set("rwx") or len(set(mode.text)) != len(mode.text):
        mode.fail(f"{mode.text!r} is not a mode; write letters of r, w and x, each once, as in rw")
    if address is not None:
        return AttachPoint(kind, address=address, length=size, mode=mode.text)
    assert argument is not None
    return AttachPoint(kind, function=function, argument=int(argument[1]), length=size, mode=mode.text)


def _iter(kind: str, parts: list[_Part], listing: bool) -> AttachPoint:
    for part in parts:
        if has_wildcard(part.text) and not listing:
            part.fail("iter takes no wildcards; write the name of one iterator, such as task")
    return AttachPoint(kind, function=parts[0].text, pin=parts[1].text if len(parts) == 2 else "")


_Reader = Callable[[str, "list[_Part]", bool], AttachPoint]

#: kind -> (reader, how many parts it can have)
_READERS: dict[str, tuple[_Reader, tuple[int, ...]]] = {
    "begin": (_bare, (0,)),
    "end": (_bare, (0,)),
    "self": (_self, (2,)),
    "test": (_named, (1,)),
    "bench": (_named, (1,)),
    "interval": (_timed, (1, 2)),
    "profile": (_timed, (1, 2)),
    "tracepoint": (_tracepoint, (1, 2)),
    "rawtracepoint": (_module, (1, 2)),
    "kprobe": (_kprobe, (1, 2)),
    "kretprobe": (_kprobe, (1, 2)),
    "fentry": (_fentry, (1, 2, 3)),
    "fexit": (_fentry, (1, 2, 3)),
    "uprobe": (_uprobe, (2, 3)),
    "uretprobe": (_uprobe, (2, 3)),
    "usdt": (_usdt, (2, 3)),
    "software": (_event, (1, 2)),
    "hardware": (_event, (1, 2)),
    "watchpoint": (_watchpoint, (3,)),
    "iter": (_iter, (1, 2)),
}

#: characters that a part needs quotes for
_SPECIAL = regex(r'[\s:@,{"$\\=]|//|/\*')


def _quoted(text: str) -> str:
    if not _SPECIAL.search(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write_function(point: AttachPoint) -> str:
    if point.address is not None:
        return hex(point.address)
    return _quoted(point.function) + (f"+{point.offset}" if point.offset else "")


def _write_line(point: AttachPoint) -> list[str]:
    assert point.source is not None
    file, line, column = point.source
    return [f"{_quoted(point.target)}@{_quoted(file)}", str(line), *([str(column)] if column else [])]


def _write_user(point: AttachPoint) -> list[str]:
    if point.source is not None:
        return _write_line(point)
    return [_quoted(point.target), *filter(None, [point.language]), _write_function(point)]


def _write_kernel(point: AttachPoint) -> list[str]:
    middle = [str(point.program) if point.program else "*"] if point.target == "bpf" else []
    return [*([_quoted(point.target)] if point.target else []), *middle, _write_function(point)]


def _write_timed(point: AttachPoint) -> list[str]:
    return [point.target, str(point.count)]


def _write_event(point: AttachPoint) -> list[str]:
    return [point.target, *([str(point.count)] if point.count else [])]


def _write_watchpoint(point: AttachPoint) -> list[str]:
    place = f"{_quoted(point.function)}+arg{point.argument}" if point.address is None else hex(point.address)
    return [place, str(point.length), point.mode]


def _write_words(point: AttachPoint) -> list[str]:
    words = (point.target, point.provider, point.function, point.pin)
    return [_quoted(word) for word in words if word]


_WRITERS: dict[str, Callable[[AttachPoint], list[str]]] = {
    **dict.fromkeys(KINDS, _write_words),
    **dict.fromkeys(("interval", "profile"), _write_timed),
    **dict.fromkeys(("kprobe", "kretprobe", "fentry", "fexit"), _write_kernel),
    **dict.fromkeys(("uprobe", "uretprobe"), _write_user),
    **dict.fromkeys(("software", "hardware"), _write_event),
    "watchpoint": _write_watchpoint,
}
