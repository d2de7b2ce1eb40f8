"""Time from start to the first event, and peak memory: ``python -m benchmarks.startup`` (as root).

Each row traces a process that this program starts, and ends after the first event: pybpf, and bpftrace where it is
installed, in turns; medians. ``first``: seconds from the start of the tracer to its first line about the process;
``whole``: until it has ended, so detaching is in it; ``cpu``: its processor time, user and system; ``MB``: its peak
resident memory. The opensnoop that each brings is ended by Ctrl-C after its first event; BCC's takes part where it is
installed. ``pybpf`` is a tracer in Python, ``bt`` runs bpftrace's own script, as it is kept after the first run,
and ``bt compiles`` the same without what is kept. Python's bytecode is cached, as it is after an installation or the
first run. bpftrace has to find tracefs mounted: where it is not, everything happens in a mount namespace of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.worker import PYBPF, in_mount_namespace

__all__ = ["COMMANDS", "ROWS", "Row", "Sample", "main", "sample"]

_ROOT = Path(__file__).parents[2]
_SCRIPTS = Path(__file__).parent / "scripts"

#: what is traced: a thousand times a second, calls that its start-up does not make
_TRACED = """
import os, time
while True:
    os.getppid()
    os.close(os.open("/dev/null", os.O_RDONLY))
    time.sleep(0.001)
"""


class Row(NamedTuple):
    """What is traced, said twice; ``PID`` is the traced process and ``LIBC`` its C library.

    :ivar script: a tracer in Python of ``scripts``.
    """

    name: str
    script: str
    bpftrace: str


ROWS = (
    Row("empty program", "empty.py", 'BEGIN { printf("PID up\\n"); exit(); }'),
    Row(
        "tracepoint one-liner",
        "line.py",
        'tracepoint:syscalls:sys_enter_getppid /pid == PID/ { printf("%d %s\\n", pid, comm); exit(); }',
    ),
    Row(
        "opens with latency",
        "opens.py",
        "tracepoint:syscalls:sys_enter_openat /pid == PID/ { @at[tid] = nsecs; @name[tid] = args->filename; }\n"
        "tracepoint:syscalls:sys_exit_openat /pid == PID && @at[tid]/ {\n"
        '    printf("%d %s %d %lu %s\\n", pid, comm, args->ret, nsecs - @at[tid], str(@name[tid]));\n'
        "    delete(@at[tid]); delete(@name[tid]); exit(); }",
    ),
    Row(
        "uprobe histogram",
        "uprobe.py",
        'uprobe:LIBC:getppid /pid == PID/ { @ = hist(tid); printf("%d calls\\n", pid); exit(); }',
    ),
)

#: the tracer of opens that each brings: who -> its command line; they go on until they are ended
OPENSNOOP = {
    "pybpf": [*PYBPF, "opensnoop", "-p", "PID"],
    "bpftrace": ["opensnoop.bt"],
    "BCC": ["opensnoop-bpfcc", "-p", "PID"],
}

#: commands that answer and end, with the seconds that they may take
COMMANDS = (
    ("pybpf info", ["info"], 0.5),
    ("pybpf list probes", ["list", "probes", "tracepoint:syscalls:*openat*"], 0.5),
    ("pybpf --help", ["--help"], 0.1),
)


class Sample(NamedTuple):
    """One run: seconds, seconds, seconds, MB."""

    first: float
    whole: float
    cpu: float
    memory: float


def sample(command: Sequence[str], begins: str, goes_on: bool = False) -> Sample:
    """Run a command that prints a line that begins so, and ends.

    :param goes_on: it does not end by itself, but when it is told to then.
    :raises SystemExit: it did not.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(_ROOT)
    begin = time.monotonic()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd="/"
    )
    assert child.stdout is not None
    first, said = 0.0, []
    with child.stdout:
        for line in child.stdout:
            said.append(line)
            if not first and line.startswith(begins):
                first = time.monotonic() - begin
                if goes_on:
                    child.send_signal(signal.SIGINT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    ended = (0, 130, -signal.SIGINT) if goes_on else (0,)
    if not first or child.returncode not in ended:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {''.join(said)}")
    return Sample(first, time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _commands(row: Row, pid: int, libc: str) -> dict[str, list[str]]:
    """Tracer -> its command line."""
    words = ["-B", "line", "-e", row.bpftrace.replace("PID", str(pid)).replace("LIBC", libc)]
    ours = [*PYBPF, "bt", *words]
    commands = {
        "pybpf": [sys.executable, str(_SCRIPTS / row.script), str(pid)],
        "bt": ours,
        "bt compiles": ["env", "PYBPF_CACHE=off", *ours],
    }
    bpftrace = shutil.which("bpftrace")
    if bpftrace is not None:
        commands["bpftrace"] = [bpftrace, *words]
    return commands


def _opensnoop(pid: int) -> dict[str, list[str]]:
    """Who -> the command line of its opensnoop, of those that are installed."""
    return {
        who: [found, *(word.replace("PID", str(pid)) for word in words)]
        for who, (program, *words) in OPENSNOOP.items()
        for found in [shutil.which(program)]
        if found
    }


def _medians(commands: dict[str, list[str]], begins: str, runs: int, goes_on: bool = False) -> dict[str, Sample]:
    """In turns, after a run of each that does not count."""
    found: dict[str, list[Sample]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            taken = sample(command, begins, goes_on)
            if turn:
                found[name].append(taken)
    return {name: Sample(*map(statistics.median, zip(*taken))) for name, taken in found.items()}


def _show(name: str, who: str, taken: Sample, note: str = "") -> None:
    first, whole, cpu, memory = taken
    print(f"{name:<22}{who:<12}{first:>8.3f}{whole:>8.3f}{cpu:>8.3f}{memory:>8.1f}  {note}".rstrip(), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="of each, after one that does not count (7)")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON, too")
    options = parser.parse_args()
    if shutil.which("bpftrace"):
        in_mount_namespace("benchmarks.startup")
    results: dict[str, dict[str, Sample]] = {}
    print(f"Linux {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}, medians of {options.runs}")
    print(f"{'':<22}{'':<12}{'first':>8}{'whole':>8}{'cpu':>8}{'MB':>8}")
    from pybpf.symbols import find_binary

    with tempfile.TemporaryDirectory() as kept, subprocess.Popen([sys.executable, "-c", _TRACED]) as traced:
        os.environ["XDG_CACHE_HOME"] = kept
        try:
            for row in ROWS:
                commands = _commands(row, traced.pid, find_binary("libc.so.6").path)
                taken = results[row.name] = _medians(commands, f"{traced.pid} ", options.runs)
                for who, numbers in taken.items():
                    _show(row.name, who, numbers)
                for who in ("pybpf", "bt") if "bpftrace" in taken else ():
                    ratios = [ours / theirs for ours, theirs in zip(taken[who], taken["bpftrace"])]
                    _show("", f"{who}, ratio", Sample(*ratios))
            results["opensnoop"] = _medians(_opensnoop(traced.pid), f"{traced.pid} ", options.runs, goes_on=True)
            for who, numbers in results["opensnoop"].items():
                _show("opensnoop", who, numbers)
            for name, words, most in COMMANDS:
                command = {"pybpf": [*PYBPF, *words]}
                results[name] = _medians(command, "", options.runs)
                _show(name, "pybpf", results[name]["pybpf"], f"(goal: whole below {most})")
        finally:
            traced.terminate()
    if options.json:
        print(json.dumps({name: {who: each._asdict() for who, each in row.items()} for name, row in results.items()}))


if __name__ == "__main__":
    main()
