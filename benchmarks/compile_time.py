"""What compiling takes: ``python -m benchmarks.compile_time``; needs root only for what it asks of the running kernel.

Prints processor time, the least of some runs: of starting and compiling the probes of examples/opens.py in a new
process, where types, features and tracepoints of the kernel are read for the first time; of compiling them again; of
each stage; and of programs of growing size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.codegen import probes
from pybpf import Tracer
from pybpf.compiler import pipeline
from pybpf.compiler.ir import Unit
from pybpf.compiler.target import Target
from pybpf.lang.front.compile import compile_probe

__all__ = ["main"]

_ROOT = Path(__file__).parent.parent
_START = """
import resource, time
import examples.opens as script
imported = time.process_time()
script.tracer.compile()
compiled = time.process_time()
print(imported, compiled - imported)
"""
_RUN = """
import examples.opens as script
with script.tracer:
    script.tracer.run({script.opens: lambda event: None}, duration=1)
    print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith(("VmHWM", "RssAnon"))))
"""
#: statements of the function whose size grows
_STATEMENTS = (4, 15, 60, 120)


def _in_new_process(program: str) -> list[float]:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return list(map(float, done.stdout.split()))


def _least(turns: int, work: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    found = []
    for _ in range(turns):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return 1000 * min(found)


def _units(tracer: Tracer, target: Target) -> list[Unit]:
    """What the front end makes of the probes of a tracer."""
    return [
        compile_probe(declared.function, probe, target, source=declared.source)  # type: ignore[arg-type]
        for declared in tracer.declared
        for probe in declared.probe.split(target)
    ]


def _stages(make: Callable[[], Tracer], target: Target, turns: int) -> tuple[float, float, float]:
    """Front end, passes, back end: ms of each."""
    tracer = make()
    front = _least(turns, lambda: _units(tracer, target))
    units = [_units(tracer, target) for _ in range(turns)]

    def passes(units: list[Unit]) -> None:
        for unit in units:
            for _, run in pipeline.PASSES:
                run(unit, target)

    def back(units: list[Unit]) -> None:
        for unit in units:
            pipeline.compile_unit(unit, target)

    waiting = iter(units)
    middle = _least(turns, lambda: passes(next(waiting)))
    rest = iter(units)
    with mock.patch.object(pipeline, "PASSES", ()):
        return front, middle, _least(turns, lambda: back(next(rest)))


def _growing(statements: int) -> Tracer:
    """A probe of so many statements: maps, tests, arithmetic, reads."""
    tracer = Tracer()
    counts = tracer.hash(probes.u32, probes.u64)
    body = ["    total = args.fd"]
    for number in range(statements):
        body.append(f"    if args.count > {number} and total & {number + 1}:")
        body.append(f"        counts[{number}] += total")
        body.append(f"    total = total * 3 + args.buf + {number}")
    source = "\n".join(["def probe(args):", *body])
    names: dict[str, Any] = {"counts": counts}
    exec(source, names)
    tracer.tracepoint("syscalls:sys_enter_write", source=source)(names["probe"])
    return tracer


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile_time", description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="how often each is done (default 5)")
    turns = parser.parse_args(argv).turns
    starts = [_in_new_process(_START) for _ in range(turns)]
    print(f"start of Python and imports  {1000 * min(start[0] for start in starts):8.1f} ms")
    print(f"first compilation            {1000 * min(start[1] for start in starts):8.1f} ms")
    peak, own = _in_new_process(_RUN)
    print(f"peak memory while it runs    {peak / 1024:8.1f} MB, {own / 1024:.1f} MB of it its own")
    target = Target.host()
    print(f"{'INSNS':>6} {'FRONT':>8} {'PASSES':>8} {'BACK':>8} {'ms':>8} {'us/INSN':>8}")
    made: list[Callable[[], Tracer]] = [lambda: probes.opens(1)]
    made += [lambda count=count: _growing(count) for count in _STATEMENTS]  # type: ignore[misc]
    for make in made:
        insns = sum(built.compiled.spec.code.slots for built in make().compile(target))
        stages = _stages(make, target, turns)
        total = sum(stages)
        cells = " ".join(f"{each:8.1f}" for each in (*stages, total))
        print(f"{insns:>6} {cells} {1000 * total / insns:8.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
