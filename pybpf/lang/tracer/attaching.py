"""How a compiled probe gets to where it runs: loading and attaching, for each kind of probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from pybpf import attach
from pybpf.attach.link import AnyLink
from pybpf.prog import Program, ProgramSpec
from pybpf.prog.load import HasFd
from pybpf.record import NamedTuple, dataclass, field
from pybpf.sys.bpf import AttachType

__all__ = ["AtPlace", "Attach", "Call", "Steps", "at_one", "by_spec", "tracepoints"]

Maps = Mapping[str, HasFd]


class Attach(Protocol):
    """Two steps, so that everything is loaded before anything runs."""

    def load(self, spec: ProgramSpec, maps: Maps, /) -> Program | None:
        """Load the program; None where it can only be loaded together with being attached."""

    def attach(self, program: Program | None, spec: ProgramSpec, maps: Maps, /) -> AnyLink:
        """Attach what was loaded."""


class Steps(NamedTuple):
    """The two steps as functions."""

    load: Callable[[ProgramSpec, Maps], Program | None]
    attach: Callable[[Program | None, ProgramSpec, Maps], AnyLink]


@dataclass(frozen=True)
class Call:
    """Load the program, and attach it by a function of :mod:`pybpf.attach`: data, which can be kept.

    :ivar function: its name.
    :ivar args: what it takes behind the program.
    """

    function: str
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    def load(self, spec: ProgramSpec, maps: Maps) -> Program:
        """Load the program."""
        return Program.load(spec, maps)

    def attach(self, program: Program | None, spec: ProgramSpec, maps: Maps) -> AnyLink:
        """Call the function."""
        link: AnyLink = getattr(attach, self.function)(program, *self.args, **self.named)
        return link


@dataclass(frozen=True)
class AtPlace:
    """Load the program, and attach it to one place in a file as :func:`pybpf.attach.uprobe` does; data, too.

    Who may not open perf events of uprobes gets a link for many places, with one.
    """

    binary: str | None
    symbol: str | None
    offset: int = 0
    address: int | None = None
    ret: bool = False
    pid: int | None = None
    cookie: int | None = None

    def load(self, spec: ProgramSpec, maps: Maps) -> Program:
        """Load the program in the form that this process may attach: perf events of uprobes take CAP_SYS_ADMIN."""
        from pybpf.sys.privilege import privileges

        if not privileges().missing("CAP_SYS_ADMIN"):
            return Program.load(spec, maps)
        from pybpf.attach.kinds.uprobe_multi import for_many

        return Program.load(for_many(spec, self.pid), maps)

    def attach(self, program: Program | None, spec: ProgramSpec, maps: Maps) -> AnyLink:
        """Find the place, and attach there."""
        from pybpf.attach.kinds.uprobe import attach_place, find_place

        assert program is not None and program.spec is not None
        ret, pid, cookie = self.ret, self.pid, self.cookie
        place = find_place(self.binary, self.symbol, offset=self.offset, address=self.address, pid=pid)
        if program.spec.expected_attach_type != AttachType.TRACE_UPROBE_MULTI:
            return attach_place(program, place, ret=ret, pid=pid, cookie=cookie)
        from pybpf.attach.kinds.uprobe_multi import uprobe_multi

        return uprobe_multi(program, [place], cookies=None if cookie is None else [cookie], ret=ret, pid=pid)


def at_one(attach: Callable[[Program], AnyLink]) -> Steps:
    """Load the program, and attach it as it is."""

    def run(program: Program | None, spec: ProgramSpec, maps: Maps) -> AnyLink:
        assert program is not None
        return attach(program)

    return Steps(lambda spec, maps: Program.load(spec, maps), run)


def by_spec(attach: Callable[[ProgramSpec, Maps], AnyLink]) -> Steps:
    """Attach to many places by a function that loads the program in the form which that takes."""
    return Steps(lambda spec, maps: None, lambda program, spec, maps: attach(spec, maps))


def tracepoints(
    program: Program,
    names: Sequence[str],
    target: str,
    cookie: int | None = None,
    cookies: Sequence[int] | None = None,
) -> attach.MultiLink:
    """Run one program at each of several tracepoints.

    :param target: what they are together, for messages.
    :param cookie: of all; ``cookies``: of each.
    """
    links = []
    with ExitStack() as undo:
        for index, name in enumerate(names):
            own = cookie if cookies is None else cookies[index]
            links.append(undo.enter_context(attach.tracepoint(program, name, cookie=own)))
        undo.pop_all()
    return attach.MultiLink(links, target)
