"""What the result of a compilation depends on beside the script, and whether that is as it was."""

from __future__ import annotations

import os
import sys
from _imp import source_hash
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from pybpf import __version__

__all__ = ["changed_since", "marks_of", "sources_of_pybpf", "stamp_of", "surroundings"]

_HASHED_BY = 0x70796270


def surroundings() -> Iterator[object]:
    """This boot of the kernel with its modules, the namespace of processes, the processors, this pybpf.

    :raises OSError: there is no /proc, or no working directory.
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        yield file.read()
    yield _modules()
    found = os.stat("/proc/self/ns/pid")
    yield found.st_dev, found.st_ino, os.cpu_count(), os.getcwd()
    yield __version__, __file__, sys.hexversion


def _modules() -> list[list[str]]:
    """Name, size and address of each; a module that came back has another address."""
    with suppress(OSError), open("/proc/modules", encoding="ascii", errors="replace") as file:
        lines = [line.split() for line in file]
        return [[*line[:2], line[5]] for line in lines if len(line) > 5]
    return []


# pybpf's own files


def sources_of_pybpf() -> list[str]:
    """The files of pybpf that have been imported; of an archive, itself."""
    found = [getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith("pybpf")]
    return sorted({_existing(each) for each in found if each})


def _existing(path: str) -> str:
    while path != "/" and not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def stamp_of(names: Sequence[str]) -> bytes:
    """What changes when one of these files does. :raises OSError: one is not there."""
    found = map(os.stat, names)
    return source_hash(_HASHED_BY, repr([(each.st_ino, each.st_size, each.st_mtime_ns) for each in found]).encode())


def changed_since(time: float, names: Sequence[str]) -> bool:
    """Whether one of these files has changed. :raises OSError: one is not there."""
    return any(each.st_mtime >= time for each in map(os.stat, names))


# what probes are in


def marks_of(depends: Sequence[tuple[str, str]]) -> list[object]:
    """What changes when one of these does, kinds and names.

    :raises BpfError: one is not there. :raises OSError: likewise.
    """
    return [_MARKS[kind](name) for kind, name in depends]


def _file(path: str) -> object:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _binary(name: str) -> object:
    """Which file is meant by the name of a program or a library."""
    from pybpf.symbols import find_binary

    return find_binary(name).path


def _tracepoint(name: str) -> object:
    """A tracepoint that was made again, by tracefs, has another number, and maybe other fields."""
    from pybpf.sys.tracefs import tracefs

    system, _, event = name.partition(":")
    with tracefs() as files:
        return files.event_id(system, event)


#: kind of what a script depends on -> what makes its mark
_MARKS: Mapping[str, Callable[[str], object]] = MappingProxyType({
    "binary": _binary,
    "file": _file,
    "tracepoint": _tracepoint,
})  # fmt: skip
