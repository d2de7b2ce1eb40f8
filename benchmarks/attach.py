"""Attaching to many functions: ``python -m benchmarks.attach`` (as root).

Seconds of wall time, and of processor time, of a whole run with N probes (start, compile, attach, detach, end), and
what it takes beyond one with a single probe; pybpf and bpftrace in turns, medians of as many runs as are printed; and
for pybpf alone how that grows to a thousand. Uprobes are at functions of libc, which the one process that is traced,
started here, does not call; kprobes, where the kernel has them, at functions of its network protocols. A guest can be
made with bpftrace::

    python -m tests.vm --kernel 6.1-x86_64 --with bpftrace --shell 'python3 -m benchmarks.attach --kind kprobe --runs 3'
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.worker import in_mount_namespace, where
from pybpf.symbols import ElfFile, find_binary
from pybpf.sys import features

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
COUNT = 300
#: seconds that the runs of one tool may take together before its median is that of those that were made
_ENOUGH = 300
SIZES = (1, 10, 100, 300, 1000)

KINDS = ("uprobe", "kprobe")
_SCRIPTS = Path(__file__).parent / "startup" / "scripts"
#: names of functions of the kernel that nothing calls while the machine sends and receives nothing
_PROTOCOLS = re.compile(r"(tcp|udp|inet|inet6|ip6|ipv6|igmp|icmp|raw|ping|fib|arp|neigh)_\w+")


def kernel_functions(count: int) -> list[str]:
    """Names of functions of the kernel that can be traced, each of which alone has the name."""
    from pybpf.sys.tracefs import tracefs

    with tracefs() as files:
        traceable = Counter(line.split()[0] for line in files.read("available_filter_functions").splitlines())
    return sorted(name for name, times in traceable.items() if times == 1 and _PROTOCOLS.fullmatch(name))[:count]


def user_functions(library: str, count: int) -> list[str]:
    """Names of functions in a library, no two at one address, each of which alone has the name."""
    with ElfFile(library) as elf:
        found: dict[int, str] = {}
        for function in elf.functions():
            if function.name.isidentifier() and len(elf.symbols_named(function.name)) == 1:
                found.setdefault(function.address, function.name)
    return sorted(found.values())[:count]


class Taken(NamedTuple):
    """What a run takes: medians, and of how many."""

    wall: float
    cpu: float
    runs: int


def _run(command: list[str]) -> tuple[float, float]:
    """Seconds, and those of the processor."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BPFTRACE_MAX_PROBES": "4096"}
    begin, before = time.monotonic(), os.times()
    done = subprocess.run(command, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took, after = time.monotonic() - begin, os.times()
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stdout.decode()[-500:]}")
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return took, busy


def _commands(kind: str, pid: int, count: int) -> dict[str, list[str]]:
    if kind == "uprobe":
        library = find_binary("libc.so.6").path
        names = user_functions(library, count)
        places, words = [f"uprobe:{library}:{name}" for name in names], [library, ",".join(names)]
    else:
        names = kernel_functions(count)
        places, words = [f"kprobe:{name}" for name in names], [",".join(names)]
    if len(names) < count:
        raise SystemExit(f"there are only {len(names)} functions for {count} {kind}s")
    commands = {"pybpf": [sys.executable, str(_SCRIPTS / f"{kind}s.py"), str(pid), *words]}
    bpftrace = shutil.which("bpftrace")
    if bpftrace is not None:
        script = f"{','.join(places)} {{ @ = count(); }} interval:ms:1 {{ exit(); }}"
        commands["bpftrace"] = [bpftrace, "-p", str(pid), "-e", script]
    return commands


def measure(kind: str, pid: int, count: int, runs: int, tools: set[str]) -> dict[str, Taken]:
    """Tool -> medians of its runs."""
    commands = _commands(kind, pid, count)
    found: dict[str, list[tuple[float, float]]] = {tool: [] for tool in commands if tool in tools}
    for turn in range(runs + 1):  # the first fills caches
        for tool, taken in found.items():
            if sum(each[0] for each in taken) > _ENOUGH:
                continue
            took = _run(commands[tool])
            if turn:
                taken.append(took)
    return {tool: Taken(*map(statistics.median, zip(*taken)), len(taken)) for tool, taken in found.items()}


def _measured(kinds: Sequence[str], runs: int) -> dict[str, dict[int, dict[str, Taken]]]:
    """Kind -> how many probes -> tool -> seconds."""
    results: dict[str, dict[int, dict[str, Taken]]] = {kind: {} for kind in kinds}
    quiet = subprocess.Popen(["sleep", "3600"])
    try:
        for kind in kinds:
            for count in SIZES:
                both = {"pybpf", "bpftrace"} if count in (1, COUNT) else {"pybpf"}
                results[kind][count] = measure(kind, quiet.pid, count, runs, both)
    finally:
        quiet.kill()
        quiet.wait()
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, action="append", help="this only; by default all that the kernel has")
    parser.add_argument("--runs", type=int, default=7, help="of each (7)")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    options = parser.parse_args()
    if shutil.which("bpftrace"):
        in_mount_namespace("benchmarks.attach")
    kinds = options.kind or [kind for kind in KINDS if features.has(kind)]
    results = _measured(kinds, options.runs)
    if options.json:
        print(json.dumps(results))
        return
    print(where(["bpftrace"]))
    print(f"{'probes':>12}{'tool':>10}{'whole s':>9}{'of CPU':>9}{'more than one s':>17}{'runs':>6}")
    for kind, rows in results.items():
        for count, row in rows.items():
            for tool, took in row.items():
                more = took.wall - rows[1][tool].wall
                print(f"{f'{count} {kind}s':>12}{tool:>10}{took.wall:>9.3f}{took.cpu:>9.3f}{more:>17.3f}{took.runs:>6}")


if __name__ == "__main__":
    main()
