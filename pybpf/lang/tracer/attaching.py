"""How a compiled probe gets to where it runs: loading and attaching, for each kind of probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from pybpf import attach
from pybpf.attach.link import AnyLink
from pybpf.prog import Program, ProgramSpec
from pybpf.prog.load import HasFd

__all__ = ["Attach", "at_one", "by_spec", "tracepoints"]

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
