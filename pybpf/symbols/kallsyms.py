"""The kernel's functions by name or pattern, from ``/proc/kallsyms``, read as a stream."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator

from pybpf.errors import BpfError
from pybpf.lazy import regex
from pybpf.record import NamedTuple

__all__ = ["KALLSYMS", "KernelFunction", "address_of", "chunks", "functions_named", "kernel_functions"]

KALLSYMS = "/proc/kallsyms"
_CHUNK = 1 << 20
#: so many names are looked for one by one, some milliseconds each
_MOST_SEARCHED = 32
_FUNCTION = regex(rb"^([0-9a-f]+) [tTwW] ([^\t\n]+)(?:\t\[([^]\n]*)\])?$", re.MULTILINE)


class KernelFunction(NamedTuple):
    """A function of the kernel or of a module."""

    name: str
    module: str  #: ``""`` for the kernel itself
    address: int  #: 0 when the kernel hides addresses (``kernel.kptr_restrict``)


def kernel_functions(pattern: str = "*", path: str = KALLSYMS) -> Iterator[KernelFunction]:
    """The functions that match, in the kernel's order; a static function's name can come several times.

    :param pattern: a name or a shell pattern, ``"tcp_*"``; with ``module:`` in front only of the modules that match
        (``vmlinux:`` for the kernel itself).
    :raises BpfError: the kernel has no symbol table (it is built without CONFIG_KALLSYMS).
    """
    module, _, name = pattern.rpartition(":")
    wanted_module = re.compile(fnmatch.translate(module)).match if module else None
    plain = re.split(r"[*?\[]", name, maxsplit=1)[0]
    start = re.escape(plain.encode("utf-8", "surrogateescape"))
    rest = rb"[^\t\n]*" if plain != name else b""
    line = re.compile(rb"^([0-9a-f]+) [tTwW] (" + start + rest + rb")(?:\t\[([^]\n]*)\])?$", re.MULTILINE)
    wanted_name = re.compile(fnmatch.translate(name)).match if plain != name else None
    for text in chunks(path):
        for match in line.finditer(text):
            found = match[2].decode("utf-8", "surrogateescape")
            where = (match[3] or b"").decode("utf-8", "surrogateescape")
            if wanted_name is not None and not wanted_name(found):
                continue
            if wanted_module is None or wanted_module(where or "vmlinux"):
                yield KernelFunction(found, where, int(match[1], 16))


def functions_named(names: Collection[str], path: str = KALLSYMS) -> list[KernelFunction]:
    """The functions that have one of many names, in the kernel's order; one pass, however many names.

    :raises BpfError: as :func:`kernel_functions`.
    """
    wanted = {name.encode("utf-8", "surrogateescape") for name in names}
    text = b"".join(chunks(path))
    found = _search(text, wanted) if len(wanted) <= _MOST_SEARCHED else _FUNCTION.findall(text)
    return [
        KernelFunction(name.decode("utf-8", "surrogateescape"), module.decode("utf-8", "surrogateescape"), int(at, 16))
        for at, name, module in found
        if name in wanted
    ]


def _search(text: bytes, wanted: set[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """What ``_FUNCTION`` finds in the lines with one of the names."""
    lines = {}
    for name in wanted:
        for end in (b"\n", b"\t"):
            at = text.find(b" " + name + end)
            while at >= 0:
                start = text.rfind(b"\n", 0, at) + 1
                match = _FUNCTION.match(text, start)
                if match:
                    lines[start] = match[1], match[2], match[3] or b""
                at = text.find(b" " + name + end, at + 1)
    return [lines[start] for start in sorted(lines)]


def chunks(path: str, size: int = _CHUNK) -> Iterator[bytes]:
    """A file in pieces of about ``size`` bytes that end with a line. :raises BpfError: it cannot be read."""
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed below, when the reader stops too
    except OSError as error:
        raise BpfError(f"cannot read {path}: {error.strerror}") from None
    with file:
        rest = b""
        while chunk := file.read(size):
            text, newline, rest = (rest + chunk).rpartition(b"\n")
            yield text + newline
        yield rest


def address_of(name: str, path: str = KALLSYMS) -> int | None:
    """The address of a function or datum of the kernel; None: there is none of that name, or it is hidden.

    :raises BpfError: as :func:`kernel_functions`.
    """
    line = re.compile(rb"^([0-9a-f]+) \S " + re.escape(name.encode("utf-8", "surrogateescape")) + rb"$", re.MULTILINE)
    for text in chunks(path):
        match = line.search(text)
        if match:
            return int(match[1], 16) or None
    return None
