"""A script that was compiled: what running it takes, without what compiling it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pybpf.record import NamedTuple, dataclass

if TYPE_CHECKING:
    from pybpf.bt.check.facts import Checked
    from pybpf.bt.state.settings import Settings
    from pybpf.bt.state.shared import Shared
    from pybpf.bt.syntax.source import Source, Span
    from pybpf.compiler.compiled import Compiled
    from pybpf.compiler.target import Target
    from pybpf.errors import CompileError
    from pybpf.lang.tracer.attaching import Attach

__all__ = ["Built", "CompiledScript", "Site"]


class Site(NamedTuple):
    """Where a program goes, as :class:`pybpf.bt.probes.place.Place` has it."""

    kind: str
    name: str
    attach: Attach | None
    places: int
    pin: str
    span: Span
    """Where the script has it."""


class Built(NamedTuple):
    """A compiled probe."""

    site: Site
    compiled: Compiled
    owners: Mapping[str, Any]
    """Name of a map in the program -> the object that it stands for."""
    checked: Checked | None
    """What was found out of it; None where the script was compiled by another process."""


@dataclass
class CompiledScript:
    """A script, compiled.

    :ivar target: what it was compiled for; None: for this kernel, by another process.
    :ivar pid: the process that is traced, or the command; None: neither.
    :ivar warnings: what the user should know, each pointing into the script.
    :ivar depends: what the result depends on beside the kernel, as :func:`pybpf.bt.surroundings.marks_of` takes it;
        None: on what may be otherwise a moment later, such as the probes that a pattern matches.
    """

    source: Source
    settings: Settings
    target: Target | None
    shared: Shared
    built: list[Built]
    pid: int | None
    warnings: list[CompileError]
    depends: list[tuple[str, str]] | None = None
