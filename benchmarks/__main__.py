"""All of the benchmarks as one table of ratios: ``python -m benchmarks`` (as root).

Each is a program of its own (``python -m benchmarks.startup``, ...), which this one runs and reads. A line is a figure
of pybpf, the same of a peer in the same run where one is installed, their ratio, and the goal: for the ratio (``x``) or
for the figure itself. Medians of seven. BCC takes part where it is installed and ``BCC_KERNEL_SOURCE`` names a tree of
kernel headers; ``BCC_LINUX_VERSION_CODE`` is their version.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.worker import in_mount_namespace, where

__all__ = ["SUITES", "Figure", "main"]

_ROOT = Path(__file__).parents[1]


class Figure(NamedTuple):
    """A line of the table."""

    name: str
    unit: str
    ours: float
    peer: str = ""
    theirs: float = 0.0
    goal: float = 0.0  #: at most; 0: none
    of_ratio: bool = True  #: the goal is for ours / theirs, or for ours alone
    more: bool = False  #: at least, instead of at most

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or no peer to compare with."""
        value = self.ratio if self.of_ratio else self.ours
        if not self.goal or value is None:
            return None
        return value >= self.goal if self.more else value <= self.goal


def _startup(found: Any) -> Iterator[Figure]:
    for name, row in found.items():
        peer = row.get("bpftrace", {})
        for key, unit, goal in (("first", "s", 0.5), ("cpu", "s of CPU", 0.0), ("memory", "MB", 0.35)):
            if peer or key == "first":
                theirs = ("bpftrace", peer[key]) if peer else ("", 0.0)
                for who, how in _HOW.items():
                    if who in row:
                        yield Figure(f"{name}{how}: {_STARTUP[key]}", unit, row[who][key], *theirs, goal)


#: how the same is traced
_HOW = {"pybpf": "", "bt": ", by pybpf bt", "bt compiles": ", by pybpf bt the first time"}
_STARTUP = {"first": "start to first event", "cpu": "whole run", "memory": "peak memory"}


def _codegen(found: Any) -> Iterator[Figure]:
    for name, row in found["probes"].items():
        for tool, key, what, unit in _OF_CODE:
            if tool in row:
                yield Figure(f"{name}: {what}", unit, row["pybpf"][key], tool, row[tool][key], 1.0)


_OF_CODE = (("bpftrace", "time", "time per event", "ns"), ("clang", "insns", "size", "insns"))


def _rings(found: Any) -> Iterator[Figure]:
    theirs = {ring: took for ring, _, form, took in found if form.startswith("BCC")}
    for ring, sizes, form, took in found:
        if form == "Struct, callback":
            rate = 1e3 / took
            yield Figure(f"{ring}: typed events", "million/s", rate, goal=2.0, of_ratio=False, more=True)
            if ring in theirs:
                yield Figure(f"{ring}: typed events", "million/s", rate, "BCC", 1e3 / theirs[ring], 5.0, more=True)
        elif not form.startswith("BCC"):
            yield Figure(f"{ring}: {sizes} bytes as {form}", "million/s", 1e3 / took)


def _growth(found: Any) -> Iterator[Figure]:
    for _, _, form, took in found:
        yield Figure(f"ring buffer: {form.split()[0]} events at once", "million/s", 1e3 / took)


def _maps(found: Any) -> Iterator[Figure]:
    for size, row in found.items():
        goal = 0.1 if "BCC" in row else 0.0
        yield Figure(f"{size} map entries read", "s", row["pybpf"], "BCC" if goal else "", row.get("BCC", 0.0), goal)
    yield Figure("1000000 map entries read", "s", found["1000000"]["pybpf"], goal=1.0, of_ratio=False)


def _attach(found: Any) -> Iterator[Figure]:
    for kind, rows in found.items():
        for count, row in rows.items():
            theirs = ("bpftrace", row["bpftrace"]) if "bpftrace" in row else ("", 0.0)
            yield Figure(f"{count} {kind}s attached and detached", "s", row["pybpf"], *theirs, 0.5)


def _symbols(found: Any) -> Iterator[Figure]:
    for what, (first, again, memory) in found.items():
        yield Figure(f"10000 {what} stacks to symbols, tables read", "s of CPU", first)
        yield Figure(f"10000 {what} stacks to symbols, again", "s of CPU", again)
        yield Figure(f"10000 {what} stacks to symbols: memory", "MB", memory / 1e6)


def _size(found: Any) -> Iterator[Figure]:
    ours = found["pybpf"] / 1e6
    yield Figure("installed size with pyelftools", "MB", ours, goal=1.5, of_ratio=False)
    one = found.pop("one file") / 1e6
    yield Figure("one file with pyelftools (make zipapp)", "MB", one, goal=1.5, of_ratio=False)
    for peer in found:
        if peer != "pybpf":
            yield Figure("installed size", "MB", ours, peer, found[peer] / 1e6)


class Suite(NamedTuple):
    """A program, its arguments, and how its JSON is read."""

    module: str
    arguments: tuple[str, ...]
    figures: Callable[[Any], Iterator[Figure]]


SUITES = {
    "startup": Suite("benchmarks.startup", (), _startup),
    "codegen": Suite("benchmarks.codegen", ("--turns", "7"), _codegen),
    "rings": Suite("benchmarks.rings", (), _rings),
    "growth": Suite("benchmarks.rings", ("--growth",), _growth),
    "maps": Suite("benchmarks.maps", (), _maps),
    "attach": Suite("benchmarks.attach", (), _attach),
    "symbols": Suite("benchmarks.symbols", (), _symbols),
    "size": Suite("benchmarks.size", (), _size),
}


def _run(suite: Suite) -> list[Figure]:
    command = [sys.executable, "-m", suite.module, *suite.arguments, "--json"]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(f"{suite.module} failed", file=sys.stderr)
        return []
    return list(suite.figures(json.loads(done.stdout.splitlines()[-1])))


def _line(figure: Figure) -> str:
    theirs = f"{figure.peer} {figure.theirs:.4g}" if figure.peer else ""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.3g}"
    goal = ""
    if figure.met is not None:
        sign, kind = "≥" if figure.more else "≤", "x" if figure.of_ratio else ""
        goal = f"{sign} {figure.goal:g}{kind} {'met' if figure.met else 'missed'}"
    return f"| {figure.name} | {figure.ours:.4g} {figure.unit} | {theirs} | {ratio} | {goal} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suite", nargs="*", help=f"only these: {', '.join(SUITES)}")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    wrong = [name for name in options.suite if name not in SUITES]
    if wrong:
        parser.error(f"there is no {wrong[0]}; choose from {', '.join(SUITES)}")
    in_mount_namespace("benchmarks")
    if not options.json:
        print(where(["bpftrace", "clang"]), end="\n\n")
        print("| figure | pybpf | peer | ratio | goal |", "| --- " * 5 + "|", sep="\n")
    figures = []
    for name in options.suite or SUITES:
        found = _run(SUITES[name])
        figures += found
        if not options.json:
            print("\n".join(map(_line, found)), flush=True)
    if options.json:
        rows = [{**figure._asdict(), "ratio": figure.ratio, "met": figure.met} for figure in figures]
        print(json.dumps({"where": where(["bpftrace", "clang"]), "figures": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
