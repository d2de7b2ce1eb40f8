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
        peers = [(peer, goal) for peer, goal in _START_GOALS.items() if peer in row]
        for key, unit, bound in (("first", "s", 0.0), ("cpu", "s of CPU", 0.0), ("memory", "MB", 0.35)):
            for peer, goal in peers or [("", 0.0)] * (key == "first"):
                theirs = (peer, row[peer][key]) if peer else ("", 0.0)
                for who, how in _HOW.items():
                    if who in row:
                        most = goal if key == "first" else bound
                        yield Figure(f"{name}{how}: {_STARTUP[key]}", unit, row[who][key], *theirs, most)


#: what the time until the first event may be, of a peer's
_START_GOALS = {"bpftrace": 0.5, "BCC": 0.25}
#: how the same is traced
_HOW = {"pybpf": "", "bt": ", by pybpf bt", "bt compiles": ", by pybpf bt the first time"}
_STARTUP = {"first": "start to first event", "cpu": "whole run", "memory": "peak memory"}


def _codegen(found: Any) -> Iterator[Figure]:
    for name, row in found["probes"].items():
        for tool in [tool for tool in row if tool != "pybpf"] or [""]:
            lost = sum(row[each]["lost"] for each in ("pybpf", tool) if each)
            for key, what, unit in _OF_CODE:
                note = f", {lost} events lost" if lost and key == "time" else ""
                theirs = row[tool][key] if tool else 0.0
                yield Figure(f"{name}: {what}{note}", unit, row["pybpf"][key], tool, theirs, 1.0)


_OF_CODE = (("time", "kernel time per event", "ns"), ("insns", "size", "insns"))


def _rings(found: Any) -> Iterator[Figure]:
    theirs = {ring: sample for ring, _, form, sample in found if form.startswith("BCC")}
    for ring, sizes, form, (cpu, wall, _) in found:
        name = f"{ring}, drain only: {sizes} bytes as {form}"
        if form == "Struct, callback":
            rate = 1e3 / cpu
            yield Figure(name, "million/s of CPU", rate, goal=2.0, of_ratio=False, more=True)
            if ring in theirs:
                yield Figure(name, "million/s of CPU", rate, "BCC", 1e3 / theirs[ring][0], 5.0, more=True)
                yield Figure(name, "million/s", 1e3 / wall, "BCC", 1e3 / theirs[ring][1])
        elif not form.startswith("BCC"):
            yield Figure(name, "million/s of CPU", 1e3 / cpu)


def _rates(found: Any) -> Iterator[Figure]:
    for ring, rates in found.items():
        whole = [made for made, lost, _ in rates.values() if not lost]
        yield Figure(f"{ring}: beside a producer, none lost", "events/s", max(whole, default=0.0))
        for asked, (made, lost, cpu) in rates.items():
            yield Figure(f"{ring}: of {asked} events/s asked for, made ({lost:.0f} lost)", "events/s", made)
            yield Figure(f"{ring}: reader at {asked} events/s", "CPUs", cpu)


def _printed(found: Any) -> Iterator[Figure]:
    peer = ("bpftrace", found["bpftrace"]) if "bpftrace" in found else ("", 0.0)
    yield Figure("printf of pybpf bt, none lost", "events/s", found["pybpf"], *peer, 1.0, more=True)


def _maps(found: Any) -> Iterator[Figure]:
    for size, row in found.items():
        for number, unit in enumerate(("s", "s of CPU")):
            theirs = ("BCC", row["BCC"][number]) if "BCC" in row else ("", 0.0)
            goal = 0.0 if number else 0.1
            yield Figure(f"{size} map entries read", unit, row["pybpf"][number], *theirs, goal)
    yield Figure("1000000 map entries read", "s", found["1000000"]["pybpf"][0], goal=1.0, of_ratio=False)


def _attach(found: Any) -> Iterator[Figure]:
    for kind, rows in found.items():
        for count, row in rows.items():
            _, _, runs = row.get("bpftrace", row["pybpf"])
            for number, unit in enumerate(("s", "s of CPU")):
                theirs = ("bpftrace", row["bpftrace"][number]) if "bpftrace" in row else ("", 0.0)
                name = f"whole run with {count} {kind}s (medians of {runs})"
                yield Figure(name, unit, row["pybpf"][number], *theirs, 0.0 if number else 0.5)


def _compiling(found: Any) -> Iterator[Figure]:
    for shape, insns, taken in found:
        yield Figure(f"compiling {insns} instructions ({shape})", "ms of CPU", taken)


def _symbols(found: Any) -> Iterator[Figure]:
    for what, (first, again, memory) in found.items():
        yield Figure(f"10000 {what} stacks to symbols, tables read", "s of CPU", first)
        yield Figure(f"10000 {what} stacks to symbols, again", "s of CPU", again)
        yield Figure(f"10000 {what} stacks to symbols: memory", "MB", memory / 1e6)


def _size(found: Any) -> Iterator[Figure]:
    ours = found["pybpf"] / 1e6
    yield Figure("installed size with pyelftools", "MB", ours, goal=1.5, of_ratio=False)
    one = found.pop("one file") / 1e6
    yield Figure("one compressed file with pyelftools (make zipapp), not installed", "MB", one)
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
    "rates": Suite("benchmarks.rates", (), _rates),
    "printf": Suite("benchmarks.bt", ("--only-rates",), _printed),
    "compile": Suite("benchmarks.compile_time", (), _compiling),
    "maps": Suite("benchmarks.maps", (), _maps),
    "attach": Suite("benchmarks.attach", (), _attach),
    "symbols": Suite("benchmarks.symbols", (), _symbols),
    "size": Suite("benchmarks.size", (), _size),
}


def _run(suite: Suite) -> list[Figure] | None:
    """The figures; None: it failed, and has said why."""
    command = [sys.executable, "-m", suite.module, *suite.arguments, "--json"]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(f"{suite.module} failed", file=sys.stderr)
        return None
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
    figures, failed = [], []
    for name in options.suite or SUITES:
        found = _run(SUITES[name])
        if found is None:
            failed.append(name)
            continue
        figures += found
        if not options.json:
            print("\n".join(map(_line, found)), flush=True)
    if options.json:
        rows = [{**figure._asdict(), "ratio": figure.ratio, "met": figure.met} for figure in figures]
        print(json.dumps({"where": where(["bpftrace", "clang"]), "figures": rows, "failed": failed}))
    elif failed:
        print(f"\nfailed, and not in the table: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
