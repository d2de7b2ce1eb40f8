"""``Functions``: the functions, tracepoints and USDT probes that a pattern of BCC's tools means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from typing import TYPE_CHECKING

from pybpf.errors import BpfError, NotFoundError
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from pybpf.lang import Tracer

__all__ = ["Functions"]

#: how many are attached to one by one, where the kernel cannot do so at once
MOST_ONE_BY_ONE = 1000
_KINDS = {"p": "kprobe", "t": "tracepoint", "u": "usdt"}


class Functions(NamedTuple):
    """What a pattern means::

        found = Functions.of("c:mem*")

        def hit(index: int) -> None:           # which of them: found.names[index]
            counts[index] += 1

        found.attach(tracer, hit)
    """

    kind: str  #: ``"kprobe"``, ``"uprobe"``, ``"tracepoint"`` or ``"usdt"``
    binary: str | None
    names: list[str]

    @staticmethod
    def of(pattern: str, regex: bool = False, pid: int | None = None) -> Functions:
        """Look for them.

        :param pattern: ``FUNCTION`` or ``p::FUNCTION`` of the kernel, ``LIBRARY:FUNCTION`` or ``p:LIBRARY:FUNCTION`` of
            a program or library, ``t:SYSTEM:EVENT``, ``u:LIBRARY:[PROVIDER:]PROBE``; with ``*`` for any text.
        :param regex: the last part is a regular expression, which matches from the start.
        :param pid: a process that has the library.
        :raises NotFoundError: there are none, or the pattern cannot be read.
        """
        kind, binary, name = _split(pattern)
        try:
            match = re.compile(name if regex else translate(name)).match
        except re.error as error:
            raise NotFoundError(f"{name!r} is no regular expression: {error}") from None
        exact = not regex and not set("*?[") & set(name)
        names = [name] if exact and kind == "kprobe" else list(_LISTS[kind](binary, match, pid))
        if not names:
            raise NotFoundError(f"no functions matched by pattern {pattern!r}{_hint(kind, binary, name)}")
        _check_number(kind, len(names))
        return Functions(kind, binary or None, names)

    def attach(self, tracer: Tracer, body: Callable[[int], None], ret: bool = False) -> None:
        """Let ``body`` run at each, in the kernel, with the index of its name.

        :param ret: where functions return, instead of where they begin.
        """
        from pybpf.lang import cookie
        from pybpf.sys import features

        if self.kind != "usdt" and len(self.names) > 1 and features.has("cookies"):

            def hit() -> None:
                body(cookie())

            numbers = range(len(self.names))
            if self.kind == "tracepoint":
                tracer.tracepoint(self.names, cookies=numbers)(hit)
            elif self.kind == "kprobe":
                at = tracer.kretprobe if ret else tracer.kprobe
                at(self.names, cookies=numbers, skip_failures=True)(hit)
            else:
                there = tracer.uretprobe if ret else tracer.uprobe
                there(self.binary, self.names, cookies=numbers, skip_failures=True)(hit)
            return
        for index, name in enumerate(self.names):
            self._one(tracer, name, ret)(_at(index, body))

    def _one(self, tracer: Tracer, name: str, ret: bool) -> Callable[[Callable[[], None]], object]:
        if self.kind == "tracepoint":
            return tracer.tracepoint(name)
        if self.kind == "usdt":
            return tracer.usdt(self.binary, name)
        if self.kind == "kprobe":
            return (tracer.kretprobe if ret else tracer.kprobe)(name)
        return (tracer.uretprobe if ret else tracer.uprobe)(self.binary, name)


def _at(index: int, body: Callable[[int], None]) -> Callable[[], None]:
    def hit() -> None:
        body(index)

    return hit


def _split(pattern: str) -> tuple[str, str, str]:
    """(kind, binary, name) of a pattern."""
    first, colon, rest = pattern.partition(":")
    if not colon:
        kind, binary, name = "p", "", pattern
    elif first in _KINDS and first != "t" and ":" in rest:
        kind, (binary, name) = first, rest.split(":", 1)
    elif first == "t":
        kind, binary, name = "t", "", rest
    else:
        kind, binary, name = "p", first, rest
    if not name or (kind == "u" and not binary):
        raise NotFoundError(
            f"{pattern!r} names no functions: write FUNCTION, LIBRARY:FUNCTION, t:SYSTEM:EVENT or u:LIBRARY:PROBE"
        )
    return ("uprobe" if kind == "p" and binary else _KINDS[kind]), binary, name


Match = Callable[[str], object]


def _of_kernel(binary: str, match: Match, pid: int | None) -> Iterator[str]:
    from pybpf.attach.kinds.kprobe import no_kprobes
    from pybpf.attach.listing import list_probes

    lack = no_kprobes("trace functions of the kernel")
    if lack is not None:
        raise lack
    for probe in list_probes("kprobe:*"):
        if match(probe.name.rpartition(":")[2]):
            yield probe.name


def _of_binary(binary: str, match: Match, pid: int | None) -> Iterator[str]:
    from pybpf.symbols import ElfFile, find_binary

    seen: set[int] = set()  # one function may have several names
    with ElfFile(find_binary(binary, pid).path) as elf:
        for function in elf.functions("*"):
            if match(function.name) and function.address not in seen:
                seen.add(function.address)
                yield function.name


def _events(binary: str, match: Match, pid: int | None) -> Iterator[str]:
    from pybpf.attach.listing import list_probes

    return (probe.name for probe in list_probes("tracepoint:*") if match(probe.name))


def _usdt(binary: str, match: Match, pid: int | None) -> Iterator[str]:
    from pybpf.symbols import ElfFile, find_binary, usdt_sites

    with ElfFile(find_binary(binary, pid).path) as elf:
        probes = dict.fromkeys(site.probe for site in usdt_sites(elf))
    return (probe for probe in probes if match(probe) or match(probe.partition(":")[2]))


_LISTS: dict[str, Callable[[str, Match, int | None], Iterator[str]]] = {
    "kprobe": _of_kernel, "uprobe": _of_binary, "tracepoint": _events, "usdt": _usdt,
}  # fmt: skip


def _hint(kind: str, binary: str, name: str) -> str:
    from pybpf.sys.near import did_you_mean

    try:
        return did_you_mean(name, _LISTS[kind](binary, lambda text: True, None))
    except BpfError:
        return ""


def _check_number(kind: str, number: int) -> None:
    from pybpf.sys import features

    feature = {"kprobe": "kprobe_multi", "uprobe": "uprobe_multi"}.get(kind)
    if number > MOST_ONE_BY_ONE and not (feature and features.has(feature)):
        raise NotFoundError(
            f"maximum of {MOST_ONE_BY_ONE} probes allowed, attempted {number}: this kernel attaches to them one by "
            "one; choose a pattern that matches less"
        )
