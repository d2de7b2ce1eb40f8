"""Compile a probe, attach it, and keep what its function returned when one process ran it: for tests of real probes.

The recorder's map has, for that process alone, the number of runs, the last result (a number, or text) and the sum of
the results.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pybpf.attach.link import AnyLink
from pybpf.compiler.compiled import Compiled
from pybpf.compiler.ir import Operand, Unit
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.lang.front.compile import compile_probe
from pybpf.lang.front.gen import Gen
from pybpf.lang.probes.probe import Probe
from pybpf.lang.values.memory import Ref, Written
from pybpf.lang.values.pointers import Place
from pybpf.lang.values.val import Val
from pybpf.maps import Map, MapSpec
from pybpf.prog import Program
from pybpf.sys.bpf import MapType
from pybpf.types import Struct, char, s64, u32, u64

__all__ = ["Record", "Recorded", "compiled", "recording"]

MAP = "recorded"


class Record(Struct):
    """What was recorded."""

    runs: u64
    number: s64
    total: s64
    text: char[128]


@dataclass(frozen=True)
class Recorded(Probe):
    """A probe whose result is recorded where process ``pid`` runs it."""

    pid: int = field(default_factory=os.getpid)

    def result(self, gen: Gen, value: Val, at: ast.AST) -> Operand:
        b = gen.b
        ours, done = b.new_block("ours"), b.new_block("done")
        tgid = b.emit("lshr", b.emit("call", helper="get_current_pid_tgid"), 32)
        b.branch("eq", tgid, self.pid, ours, done)
        b.seal(ours)
        b.start(ours)
        gen.unit.maps[MAP] = MapSpec(MapType.ARRAY, u32, Record, 1, MAP)
        address = b.emit("mapvalue", map=MAP, offset=0)
        if isinstance(value, (Written, Ref, Place)):
            Ref.of(address, 24, char[128], "map").put(gen, value, at)
        else:
            number = value.scalar(gen, at)
            b.emit("store", address, number, offset=8, size=8)
            b.emit("atomic", address, number, kind="add", offset=16, size=8)
        b.emit("atomic", address, 1, kind="add", offset=0, size=8)
        b.jump(done)
        b.seal(done)
        b.start(done)
        return 0


def compiled(function: Callable[..., Any], probe: Probe, target: Target | None = None) -> Compiled:
    """A probe compiled for this kernel, or for another; every pass is checked."""
    target = target or Target.host()
    return compile_unit(unit(function, probe, target), target, check=True)


def unit(function: Callable[..., Any], probe: Probe, target: Target) -> Unit:
    """A probe as IR, before any pass."""
    return compile_probe(function, probe, target)


@contextmanager
def recording(
    function: Callable[..., Any], probe: Recorded, attach: Callable[[Program], AnyLink]
) -> Iterator[Callable[[], Record]]:
    """Attach a probe; calling what this gives says what was recorded so far."""
    done = compiled(function, probe)
    with ExitStack() as stack:
        maps: dict[str, Map] = {name: stack.enter_context(spec.create()) for name, spec in done.maps.items()}
        program = stack.enter_context(Program.load(done.spec, maps))
        stack.enter_context(attach(program))
        yield lambda: maps[MAP][0]  # type: ignore[index,no-any-return]
