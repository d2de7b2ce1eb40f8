"""``Tool``: what a bundled tracer says of itself, from which its help, completion, manual page and listing are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.errors import BpfError, CompileError
from pybpf.record import NamedTuple, dataclass

if TYPE_CHECKING:
    from pybpf.tool.places import FirstOf
    from pybpf.tool.run import Run
    from pybpf.tool.syscalls import SyscallProbes

__all__ = ["TOPICS", "Example", "Option", "Tool", "option"]

#: the headings under which ``pybpf`` lists tools, in their order
TOPICS = ("Processes", "Files and disks", "Network", "Memory", "CPU", "Functions and events", "Applications")


_LIBRARY = Path(__file__).parents[1]


class Option(NamedTuple):
    """An option or an argument of a tool."""

    flags: tuple[str, ...]  #: ``("-p", "--pid")``, or the one name of an argument
    settings: Mapping[str, Any]  #: what ``argparse`` takes beside them
    group: str = ""  #: heading in the help; ``""``: the tool's own
    shared: bool = False  #: it means the same in all tools, and leaves a flag to an own one that wants the same

    @property
    def name(self) -> str:
        """What the parsed value is called."""
        long = next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])
        name: str = self.settings.get("dest", long.lstrip("-").replace("-", "_"))
        return name


def option(*flags: str, **settings: Any) -> Option:
    """An option of one tool, given as to ``ArgumentParser.add_argument``; its default becomes part of the help."""
    return Option(flags, MappingProxyType(settings))


class Example(NamedTuple):
    """A command line and what it is for."""

    arguments: str  #: without ``pybpf TOOL``
    text: str


@dataclass(frozen=True)
class Tool:
    """A bundled tracer::

        TOOL = Tool(
            name="opensnoop", topic="Files and disks", summary="trace files being opened",
            options=(*shared("pid tid uid"), option("-x", "--failed", action="store_true", help="only failures")),
            examples=(("-x", "only opens that fail"), ("-p 181", "only those of process 181")),
            probes=(ENTRY, EXIT), trace=trace,
        )
        main = TOOL.main

    :param name: what follows ``pybpf``.
    :param topic: one of :data:`TOPICS`.
    :param summary: one line, in lower case and without a full stop.
    :param trace: does the work; is given the :class:`~pybpf.tool.Run`.
    :param options: in the order of the help; positional arguments too.
    :param examples: (arguments, what for), two or three.
    :param probes: what it attaches to: :class:`~pybpf.tool.FirstOf` lists, :class:`~pybpf.tool.SyscallProbes`, or
        text where that depends on the options.
    :param needs: the least capabilities.
    :param privileges: what the help says of them instead, where that depends on the options.
    :param follows: of a command, what it starts is traced, too, without being told so.
    :param notes: what else to know; paragraphs of the help and the manual page.
    :param check: is given the options, to refuse combinations of them: returns what is wrong, or ``""``.
    """

    name: str
    topic: str
    summary: str
    trace: Callable[[Run], None]
    options: Sequence[Option] = ()
    examples: Sequence[Example | tuple[str, str]] = ()
    probes: Sequence[FirstOf | SyscallProbes | str] = ()
    needs: Sequence[str] = ("CAP_BPF", "CAP_PERFMON")
    privileges: str = ""
    follows: bool = False
    notes: str = ""
    check: Callable[[Any], str] | None = None

    def main(self, arguments: Sequence[str]) -> int:
        """Run the tool; returns its exit code. Ends the process where the options are wrong.

        :raises BpfError: it cannot trace; says why in one line.
        """
        from pybpf.tool.command import parse
        from pybpf.tool.run import Run

        options = parse(self, arguments)
        try:
            with Run(self, options) as run:
                self.trace(run)
        except CompileError as error:
            if not _is_ours(error.file):
                raise
            # something that this kernel lacks; where in the tool helps nobody who only runs it
            raise BpfError(error.message) from error
        return 0


def _is_ours(file: str) -> bool:
    """Whether a source file is a tool's or the library's, or made by one; not what a user has written."""
    folders = (_LIBRARY, _LIBRARY.parent / "programs")
    return file.startswith("<") or any(file.startswith(f"{folder}{os.sep}") for folder in folders)
