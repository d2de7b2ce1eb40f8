"""``pybpf bt -l``: probes by pattern, those of a script, and types of the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from pybpf.bt.syntax.parse import parse
from pybpf.errors import NotFoundError
from pybpf.lazy import regex
from pybpf.report import printable

__all__ = ["list_matching", "list_script"]

#: listed by the forms of their periods, of which any number will do
_TIMED = ("interval", "profile")
_TYPE = regex(r"(struct|union|enum)\s+(\S+)")


def list_matching(search: str, arguments: bool) -> Iterator[str]:
    """Lines for what matches: ``kind:name`` with wildcards, a name in any kind, several by commas; or a type of C.

    :param arguments: also those of the probes, and the members of types.
    :raises BpfError: the pattern makes no sense, or this kernel lacks the one kind it asks for.
    """
    for each in (search or "*").split(","):
        pattern = " ".join(each.split())
        match = _TYPE.fullmatch(pattern)
        yield from _types(match[1], match[2], arguments) if match else _probes(pattern, arguments)


def list_script(text: str, file: str, words: list[str], arguments: bool) -> Iterator[str]:
    """The same for the attach points of a script. :raises CompileError: it is no script."""
    from pybpf.attach.listing import KINDS

    script = parse(text, file, words)
    for probe in script.probes:
        for point in probe.points:
            for each in point.points or ():
                if each.kind in KINDS and each.kind not in _TIMED:
                    yield from _probes(each.text, arguments)
                else:
                    yield printable(each.text)  # begin, interval, ...: nothing that the kernel lists


def _probes(pattern: str, arguments: bool) -> Iterator[str]:
    from pybpf.attach.listing import list_probes

    found = False
    for probe in list_probes(pattern, arguments):
        found = True
        yield printable(str(probe))
        yield from (f"    {printable(each)}" for each in probe.arguments)
    if not found:
        no_file = ", and there is no such file" if pattern.endswith(".bt") or "/" in pattern else ""
        raise NotFoundError(f"no probe matches {pattern}{no_file}")


def _types(kind: str, pattern: str, members: bool) -> Iterator[str]:
    from pybpf.btf import Btf

    btf = Btf.vmlinux()
    names = sorted({name for name, _ in btf.names(kind, pattern)})
    if not names:
        raise NotFoundError(f"the kernel has no type {kind} {pattern}")
    for name in names:
        text = btf.c(f"{kind} {name}") if members else f"{kind} {name}"
        yield from map(printable, text.replace("\t", "    ").splitlines())
