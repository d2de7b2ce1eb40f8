"""What compiling takes: ``python -m benchmarks.compile_time``; needs root only for what it asks of the running kernel.

Prints processor time, medians: of starting and compiling the probes of examples/opens.py in a new
process, where types, features and tracepoints of the kernel are read for the first time; of compiling them again; of
each stage; and of programs of growing size, of 500, 1,000, 4,096 and 20,000 instructions (about), in three shapes.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from benchmarks.codegen import probes
from pybpf import Tracer
from pybpf.compiler import pipeline
from pybpf.compiler.ir import Unit
from pybpf.compiler.target import Target
from pybpf.lang.front.compile import compile_probe
from pybpf.lazy import Uncollected

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
#: variables that are needed all the time, and how deep `if` is nested
_VARIABLES, _DEEPEST = 40, 16


def _in_new_process(program: str) -> list[float]:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return list(map(float, done.stdout.split()))


def _median(turns: int, work: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    found = []
    for _ in range(turns):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return 1000 * statistics.median(found)


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
    front = _median(turns, lambda: _units(tracer, target))
    units = [_units(tracer, target) for _ in range(turns)]

    def passes(units: list[Unit]) -> None:
        with Uncollected():  # as compile_unit does
            for unit in units:
                for _, run in pipeline.PASSES:
                    run(unit, target)

    def back(units: list[Unit]) -> None:
        for unit in units:
            pipeline.compile_unit(unit, target)

    waiting = iter(units)
    middle = _median(turns, lambda: passes(next(waiting)))
    rest = iter(units)
    with mock.patch.object(pipeline, "PASSES", ()):
        return front, middle, _median(turns, lambda: back(next(rest)))


def _straight(statements: int) -> list[str]:
    """Maps, tests, arithmetic, reads, one behind the other."""
    body = ["    total = args.fd"]
    for number in range(statements):
        body.append(f"    if args.count > {number} and total & {number + 1}:")
        body.append(f"        counts[{number}] += total")
        body.append(f"    total = total * 3 + args.fd + {number}")
    return body


def _loops(statements: int) -> list[str]:
    """Many variables over many loops: each loop changes some of them, all are needed at the end."""
    body = [f"    v{number} = args.fd + {number}" for number in range(_VARIABLES)]
    for number in range(statements):
        body.append(f"    for i{number} in range(args.count & 7):")
        for turn in range(4):
            into, source = (4 * number + turn) % _VARIABLES, (7 * number + 3 * turn) % _VARIABLES
            body.append(f"        v{into} += v{source} ^ i{number}")
    return [*body, *(f"    counts[{number}] += v{number}" for number in range(_VARIABLES))]


def _nests(statements: int) -> list[str]:
    """Deep nests of if, with variables that are changed inside and read behind them."""
    body = ["    a = b = args.fd"]
    for number in range(statements):
        indent = "    " * (1 + number % _DEEPEST)
        body.append(f"{indent}if args.count > {number} and b != {number}:")
        body.append(f"{indent}    a = a * 3 + {number}")
        body.append(f"{indent}    b ^= a")
    return [*body, "    counts[1] += a + b"]


def _growing(body: list[str]) -> Tracer:
    """A probe of such a body."""
    tracer = Tracer()
    counts = tracer.hash(probes.u32, probes.u64)
    source = "\n".join(["def probe(args):", *body])
    names: dict[str, Any] = {"counts": counts}
    exec(source, names)
    tracer.tracepoint("syscalls:sys_enter_write", source=source)(names["probe"])
    return tracer


#: Shape -> what writes its body, and its statements for about 500, 1,000, 4,096 and 20,000 instructions.
_SHAPES: Mapping[str, tuple[Callable[[int], list[str]], tuple[int, ...]]] = MappingProxyType(
    {
        "straight": (_straight, (15, 30, 120, 600)),
        "loops": (_loops, (1, 5, 35, 200)),
        "nests": (_nests, (100, 200, 800, 4000)),
    }
)


def _programs() -> list[tuple[str, Callable[[], Tracer]]]:
    made: list[tuple[str, Callable[[], Tracer]]] = [("opens", lambda: probes.opens(1))]
    for name, (write, sizes) in _SHAPES.items():
        made += [(name, functools.partial(_growing, write(size))) for size in sizes]
    return made


def _compiled(turns: int) -> Iterator[tuple[str, int, tuple[float, float, float]]]:
    """Shape, instructions, ms of each stage."""
    target = Target.host()
    for name, make in _programs():
        insns = sum(built.compiled.spec.code.slots for built in make().compile(target))
        yield name, insns, _stages(make, target, turns)


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile_time", description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=7, help="how often each is done (default 7)")
    parser.add_argument(
        "--json", action="store_true", help="print only the programs, as JSON: [shape, instructions, ms]"
    )
    options = parser.parse_args(argv)
    turns = options.turns
    if options.json:
        print(json.dumps([[name, insns, sum(stages)] for name, insns, stages in _compiled(turns)]))
        return 0
    starts = [_in_new_process(_START) for _ in range(turns)]
    print(f"start of Python and imports  {1000 * statistics.median(start[0] for start in starts):8.1f} ms")
    print(f"first compilation            {1000 * statistics.median(start[1] for start in starts):8.1f} ms")
    peak, own = _in_new_process(_RUN)
    print(f"peak memory while it runs    {peak / 1024:8.1f} MB, {own / 1024:.1f} MB of it its own")
    print(f"{'':<9} {'INSNS':>6} {'FRONT':>8} {'PASSES':>8} {'BACK':>8} {'ms':>8} {'us/INSN':>8}")
    for name, insns, stages in _compiled(turns):
        total = sum(stages)
        cells = " ".join(f"{each:8.1f}" for each in (*stages, total))
        print(f"{name:<9} {insns:>6} {cells} {1000 * total / insns:8.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
