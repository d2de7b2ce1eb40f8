"""How a compiled probe gets to where it runs: loading and attaching, for each kind of probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from pybpf import attach
from pybpf.attach.link import AnyLink
from pybpf.prog import Program, ProgramSpec
from pybpf.prog.load import HasFd
from pybpf.record import NamedTuple
from pybpf.sys.bpf import AttachType

__all__ = ["Attach", "at_one", "at_place", "by_spec", "tracepoints"]

Maps = Mapping[str, HasFd]


class Attach(NamedTuple):
    """Two steps, so that everything is loaded before anything runs."""

    load: Callable[[ProgramSpec, Maps], Program | None]
    """None where the program can only be loaded together with being attached."""
    attach: Callable[[Program | None, ProgramSpec, Maps], AnyLink]


def at_one(attach: Callable[[Program], AnyLink]) -> Attach:
    """Load the program, and attach it as it is."""

    def run(program: Program | None, spec: ProgramSpec, maps: Maps) -> AnyLink:
        assert program is not None
        return attach(program)

    return Attach(lambda spec, maps: Program.load(spec, maps), run)


def at_place(
    binary: str | None,
    symbol: str | None,
    *,
    offset: int = 0,
    address: int | None = None,
    ret: bool = False,
    pid: int | None = None,
    cookie: int | None = None,
) -> Attach:
    """Load the program, and attach it to one place in a file as :func:`pybpf.attach.uprobe` does.

    Who may not open perf events of uprobes gets a link for many places, with one.
    """

    def load(spec: ProgramSpec, maps: Maps) -> Program:
        from pybpf.attach.kinds.uprobe_multi import for_one

        return Program.load(for_one(spec, pid), maps)

    def run(program: Program | None, spec: ProgramSpec, maps: Maps) -> AnyLink:
        from pybpf.attach.kinds.uprobe import attach_place, find_place

        assert program is not None and program.spec is not None
        place = find_place(binary, symbol, offset=offset, address=address, pid=pid)
        if program.spec.expected_attach_type != AttachType.TRACE_UPROBE_MULTI:
            return attach_place(program, place, ret=ret, pid=pid, cookie=cookie)
        from pybpf.attach.kinds.uprobe_multi import uprobe_multi

        return uprobe_multi(program, [place], cookies=None if cookie is None else [cookie], ret=ret, pid=pid)

    return Attach(load, run)


def by_spec(attach: Callable[[ProgramSpec, Maps], AnyLink]) -> Attach:
    """Attach to many places by a function that loads the program in the form which that takes."""
    return Attach(lambda spec, maps: None, lambda program, spec, maps: attach(spec, maps))


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
