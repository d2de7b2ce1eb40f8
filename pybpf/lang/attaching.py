"""How a compiled probe gets to where it runs: loading and attaching, for each kind of probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pybpf.attach.link import AnyLink
from pybpf.prog import Program, ProgramSpec
from pybpf.prog.load import HasFd

__all__ = ["Attach", "at_one", "by_spec"]

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
