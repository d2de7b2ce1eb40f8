"""What the compiler makes: a program, and the maps that it needs."""

from __future__ import annotations

from pybpf.maps import MapSpec
from pybpf.prog import ProgramSpec
from pybpf.record import dataclass, field

__all__ = ["Compiled"]


@dataclass(frozen=True)
class Compiled:
    """A program, ready to be loaded.

    :ivar spec: the program.
    :ivar maps: the maps that its code names, among them one that the compiler may have added for large slots.
    :ivar stages: name of a stage -> the program as text behind it, in order, when that was asked for.
    """

    spec: ProgramSpec
    maps: dict[str, MapSpec] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
