"""Attaching to many functions: ``python -m benchmarks.attach`` (as root).

Seconds of wall time that N uprobes in libc take in a whole run (start, compile, attach, detach, end) beyond what one
takes, pybpf and bpftrace in turns, medians; and for pybpf alone how that grows to a thousand. A process that this
program starts is the only one traced, and calls none of the functions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.worker import in_mount_namespace
from pybpf.symbols import ElfFile, find_binary

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
COUNT = 300
#: seconds that the runs of one tool may take together before its median is that of those that were made
_ENOUGH = 60
SIZES = (1, 10, 100, 300, 1000)

_SCRIPT = Path(__file__).parent / "startup" / "scripts" / "uprobes.py"


def functions(library: str, count: int) -> list[str]:
    """Names of functions in a library, no two at one address, each of which alone has the name."""
    with ElfFile(library) as elf:
        found: dict[int, str] = {}
        for function in elf.functions():
            if function.name.isidentifier() and len(elf.symbols_named(function.name)) == 1:
                found.setdefault(function.address, function.name)
    return sorted(found.values())[:count]


def _run(command: list[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BPFTRACE_MAX_PROBES": "4096"}
    begin = time.monotonic()
    done = subprocess.run(command, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took = time.monotonic() - begin
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stdout.decode()[-500:]}")
    return took


def _commands(library: str, names: list[str], pid: int) -> dict[str, list[str]]:
    commands = {"pybpf": [sys.executable, str(_SCRIPT), str(pid), library, ",".join(names)]}
    bpftrace = shutil.which("bpftrace")
    if bpftrace is not None:
        probes = ",".join(f"uprobe:{library}:{name}" for name in names)
        script = f"{probes} {{ @ = count(); }} interval:ms:1 {{ exit(); }}"
        commands["bpftrace"] = [bpftrace, "-p", str(pid), "-e", script]
    return commands


def measure(library: str, pid: int, count: int, runs: int, tools: set[str]) -> dict[str, float]:
    """Tool -> median of the seconds of a run."""
    commands = _commands(library, functions(library, count), pid)
    found: dict[str, list[float]] = {tool: [] for tool in commands if tool in tools}
    for turn in range(runs + 1):  # the first fills caches
        for tool, taken in found.items():
            if sum(taken) > _ENOUGH:
                continue
            took = _run(commands[tool])
            if turn:
                taken.append(took)
    return {tool: statistics.median(taken) for tool, taken in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="of each (7)")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    options = parser.parse_args()
    if shutil.which("bpftrace"):
        in_mount_namespace("benchmarks.attach")
    library = find_binary("libc.so.6").path
    results: dict[int, dict[str, float]] = {}
    quiet = subprocess.Popen(["sleep", "3600"])
    try:
        for count in SIZES:
            both = {"pybpf", "bpftrace"} if count in (1, COUNT) else {"pybpf"}
            results[count] = measure(library, quiet.pid, count, options.runs, both)
    finally:
        quiet.kill()
        quiet.wait()
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'uprobes':>8}{'tool':>10}{'whole s':>9}{'more than one s':>17}")
    for count, row in results.items():
        for tool, took in row.items():
            print(f"{count:>8}{tool:>10}{took:>9.3f}{took - results[1][tool]:>17.3f}")


if __name__ == "__main__":
    main()
