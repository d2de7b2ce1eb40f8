"""Hostile input, in numbers: ``python -m tests.reliability.hostile [SURFACE...] --count 100000``.

Each input is made from a seed, read in a child process that may use 256 MB more than it began with and a second of
processor time for one input, and must give a result or one of the exceptions of :mod:`pybpf.errors`.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pybpf.errors import BpfError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.surfaces import Surface

__all__ = ["SEEDS", "Failure", "check", "handled", "run"]

#: seconds of processor time for one input; an emulated processor is slower, and so may take more (see ``--slower``)
TIME = 1.0
#: bytes that the process may grow by
MEMORY = 256 << 20
#: seeds of inputs that once did worse than an exception, a line each: SURFACE SEED, and what it was
SEEDS = Path(__file__).with_name("seeds.txt")
_ROOT = Path(__file__).parent.parent.parent
_MOST_FAILURES = 20
#: times of :data:`TIME` after which the kernel ends the process: in a loop in C no signal handler of Python runs
_HANGS = 20
#: seconds of the clock that a process may take beside :data:`TIME` for each input: it may also wait for something
_PATIENCE = 600.0


@dataclass
class Failure:
    """An input that did worse than a documented exception."""

    surface: str
    seed: int
    what: str

    def __str__(self) -> str:
        return f"{self.surface} {self.seed}: {self.what}"


class _TooSlow(BaseException):
    """One input took too long; no ``Exception``, so that nothing under test takes it for its own."""


def _out_of_time(number: int, frame: object) -> None:
    raise _TooSlow


@contextmanager
def handled() -> Iterator[None]:
    """The timer of :func:`check` interrupts what runs inside."""
    before = signal.signal(signal.SIGPROF, _out_of_time)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _limit_memory() -> None:
    """This process will grow by :data:`MEMORY` at most, for ever."""
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def _end_hangs(slower: float) -> None:
    """This process is ended by SIGXCPU when the input that now comes takes far longer than it may."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + _HANGS * TIME * slower) + 1, most))


def check(surface: Surface, seed: int, slower: float = 1.0) -> tuple[str, bool]:
    """Read one input: what was wrong, or ``""``; and whether it was read to its end, without an exception."""
    rng = random.Random(f"{surface.name} {seed}")
    data = surface.make(rng)
    signal.setitimer(signal.ITIMER_PROF, TIME * slower)
    try:
        surface.use(data)
    except BpfError as error:
        return ("" if str(error) else "an exception without a message"), False
    except _TooSlow:
        return f"took more than {TIME * slower:g} s", False
    except MemoryError:
        return f"took more than {MEMORY >> 20} MB", False
    except BaseException:
        return traceback.format_exc(limit=-4), False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "", True


def _child(surface: Surface, seeds: Sequence[int], slower: float) -> int:
    surface.use(surface.good())  # imports and tables are made before the limits hold
    read = failures = 0
    _limit_memory()
    with handled():
        for seed in seeds:
            _end_hangs(slower)
            wrong, whole = check(surface, seed, slower)
            read += whole
            if wrong:
                failures += 1
                print(f"FAILED {seed} {wrong!r}", flush=True)
                if failures == _MOST_FAILURES:
                    break
    print(f"READ {read}", flush=True)
    return 0


def run(surface: str, first: int, count: int, slower: float = 1.0) -> tuple[list[Failure], int]:
    """Read inputs ``first`` to ``first + count - 1`` in a child: the failures, and how many were read whole."""
    command = [sys.executable, "-m", __spec__.name, "--child", surface, str(first), str(count), str(slower)]
    limit = _PATIENCE + count * TIME * slower
    failures: list[Failure] = []
    read = 0
    try:
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, errors="replace", check=False, timeout=limit
        )
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
        return [Failure(surface, first, f"did not end in {limit:g} s; before: {output[-2000:]}")], 0
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FAILED":
            seed, _, what = rest.partition(" ")
            failures.append(Failure(surface, int(seed), what))
        elif word == "READ":
            read = int(rest)
    if done.returncode:
        failures.append(Failure(surface, first, f"the process ended with {done.returncode}: {done.stderr[-2000:]}"))
    return failures, read


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each surface and each failure."""
    from tests.reliability.surfaces import SURFACES

    parser = argparse.ArgumentParser(prog="python -m tests.reliability.hostile", description=__doc__.split("\n")[0])
    parser.add_argument("surface", nargs="*", help=f"of {', '.join(SURFACES)}; by default all")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--count", type=int, default=2000, help="inputs for each surface (2000)")
    parser.add_argument("--slower", type=float, default=1.0, help="times of the second that an input may take (1)")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        name, first, count, slower = options.child
        return _child(SURFACES[name], range(int(first), int(first) + int(count)), float(slower))
    unknown = set(options.surface) - SURFACES.keys()
    if unknown:
        parser.error(f"no surface {', '.join(sorted(unknown))}; there are {', '.join(SURFACES)}")
    bad = 0
    for name in options.surface or SURFACES:
        begin = time.monotonic()
        failures, read = run(name, options.first, options.count, options.slower)
        bad += len(failures)
        counts = f"{options.count:>8} inputs, {read:>8} read whole, {len(failures):>3} failures"
        print(f"{name:<14} {counts}, {time.monotonic() - begin:.0f} s", flush=True)
        for failure in failures:
            print(f"  {failure}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
