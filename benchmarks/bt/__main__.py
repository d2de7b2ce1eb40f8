"""Run scripts under ``pybpf bt`` and under bpftrace, in turns: ``python -m benchmarks.bt`` (as root).

Each script of ``scripts/`` traces a process that this program starts, which does the same work each time. Printed, for
each tracer (``compiles`` is pybpf without scripts that it has kept) and as ratios: ``START`` until it is attached and
``CPU`` of the tracer from its start to its end, in ms; ``MB``, its peak memory; ``INSNS``, what it has loaded, as the
kernel has it after verification; ``NS``, the kernel's time per run of its programs (where pybpf has the kernel run a
program for that process only and bpftrace does not, bpftrace's is by as many runs as pybpf's had). Medians. Then: the
highest rate of events, as the traced process made them, that is printed without one being lost, and how long pybpf
takes to compile a thousand assignments to maps.

Each script gets one more probe, a timer that says that all before it is attached, and is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
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

from benchmarks.worker import PYBPF, WORK, Worker, in_mount_namespace, programs_of, where
from pybpf.asm import decode, slots
from pybpf.prog import Program, run_time_stats
from pybpf.symbols import find_binary

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_SCRIPTS = Path(__file__).parent / "scripts"
_ATTACHED = 'interval:ms:1 /@up == 0/ { @up = 1; printf("attached\\n"); }'
_NOT_COUNTED = re.compile("begin|end|self|interval", re.IGNORECASE)
_EVENTS = 'tracepoint:syscalls:sys_enter_getppid /pid == $1/ { printf("%d %s %lu\\n", pid, comm, nsecs); }'
#: events a second that are tried, lowest first
_RATES = tuple(int(10_000 * 1.5**step) for step in range(12))
_PACED = 2  # seconds of each rate
_BURSTS = 2000
_MANY = 1000
#: most seconds that a tracer may take to attach
_PATIENCE = 60
#: seconds after which it is told again to end
_AGAIN = 3


class Sample(NamedTuple):
    """One run under one tracer."""

    start: float
    cpu: float
    memory: float
    insns: int
    runs: int
    time: int


class Tracer:
    """A tracer that runs a script, from its start on; it prints to a file.

    :ivar started: seconds until it was attached.
    """

    def __init__(self, command: Sequence[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPATH"] = str(_ROOT)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the object
        begin = time.monotonic()
        self.process = subprocess.Popen(command, stdout=self._output, stderr=self._output, env=environment, cwd="/")
        while b"attached\n" not in os.pread(self._output.fileno(), 4096, 0):
            if self.process.poll() is not None or time.monotonic() > begin + _PATIENCE:
                raise SystemExit(f"{' '.join(command)} did not attach: {self.text.decode(errors='replace')}")
            time.sleep(0.0005)
        self.started = time.monotonic() - begin

    @property
    def text(self) -> bytes:
        """What it has printed."""
        return os.pread(self._output.fileno(), os.fstat(self._output.fileno()).st_size, 0)

    def end(self) -> tuple[float, float]:
        """End it as Ctrl-C does; its processor time in seconds, and its peak memory in MB."""
        pid = 0
        while not pid:  # a signal may be lost on bpftrace
            os.kill(self.process.pid, signal.SIGINT)
            again = time.monotonic() + _AGAIN
            while not pid and time.monotonic() < again:
                time.sleep(0.005)
                pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _commands(text: str, pid: int) -> dict[str, list[str]]:
    """Tracer -> the command line that runs a script for a process."""
    pybpf, bpftrace = [*PYBPF, "bt"], ["bpftrace", "-B", "line"]
    whole = f"{text}\n{_ATTACHED}"
    confined = ["-p", str(pid)] if "probe:" in text else []
    ours = [*pybpf, *confined, "-e", whole, str(pid)]
    found = {"pybpf": ours, "compiles": ["env", "PYBPF_CACHE=off", *ours]}
    if shutil.which("bpftrace"):
        found["bpftrace"] = [*bpftrace, *confined, "-e", whole, str(pid)]
    return found


def _measure(command: Sequence[str], worker: Worker, work: str) -> Sample:
    tracer = Tracer(command)
    with contextlib.ExitStack() as owned:
        found = [owned.enter_context(Program.from_id(each)) for each in programs_of(tracer.process.pid)]
        programs = [each for each in found if not _NOT_COUNTED.search(each.name)]
        before = [program.stats for program in programs]
        worker.run(work)
        after = [program.stats for program in programs]
        insns = sum(slots(insn) for program in programs for insn in decode(program.xlated()))
    cpu, memory = tracer.end()
    runs = sum(new.run_cnt - old.run_cnt for new, old in zip(after, before))
    taken = sum(new.run_time_ns - old.run_time_ns for new, old in zip(after, before))
    return Sample(tracer.started, cpu, memory, insns, runs, taken)


def _row(name: str, runs: int) -> dict[str, list[float]]:
    """Tracer -> medians: ms, ms, MB, instructions, ns a run."""
    text = (_SCRIPTS / f"{name}.bt").read_text().replace("LIBC", find_binary("libc.so.6").path)
    worker = Worker()
    samples: dict[str, list[Sample]] = {}
    for turn in range(runs + 1):  # the first does not count
        for tool, command in _commands(text, worker.pid).items():
            found = _measure(command, worker, WORK[name])
            if turn:
                samples.setdefault(tool, []).append(found)
    worker.close()
    fewest = max(1, min(each.runs for each in samples["pybpf"]))
    made = {}
    for tool, each in samples.items():
        by = [sample.time / (min(sample.runs, fewest) or 1) for sample in each]
        middle = [statistics.median(column) for column in zip(*each)]
        made[tool] = [1e3 * middle[0], 1e3 * middle[1], middle[2], middle[3], statistics.median(by)]
    return made


def _print(name: str, row: dict[str, list[float]]) -> list[float] | None:
    for tool, numbers in row.items():
        _line(name if tool == "pybpf" else "", tool, ("{:.0f}", "{:.0f}", "{:.1f}", "{:.0f}", "{:.0f}"), numbers)
    if len(row) < 2:
        return None
    ratios = [ours / theirs for ours, theirs in zip(row["pybpf"], row["bpftrace"])]
    _line("", "ratio", ("{:.2f}",) * 5, ratios)
    return ratios


def _line(name: str, tool: str, formats: Sequence[str], numbers: Sequence[float]) -> None:
    cells = "".join(f"{form.format(number):>9}" for form, number in zip(formats, numbers))
    print(f"{name:<18}{tool:<10}{cells}", flush=True)


def _rate(command: Sequence[str], worker: Worker) -> float:
    """The most events a second of which every one is printed: as many as were made, by the seconds that it took.

    The producer is asked for more and more; a tracer slows it down, so that it may reach less than that.
    """
    best = 0.0
    for rate in _RATES:
        tracer = Tracer(command)
        took = worker.run(f"paced {rate * _PACED // _BURSTS}")
        tracer.end()
        made = rate * _PACED // _BURSTS * _BURSTS
        if len(re.findall(rb"^\d+ \S+ \d+$", tracer.text, re.MULTILINE)) < made:
            break
        best = max(best, made / took)
    return best


def _rates(runs: int) -> dict[str, float]:
    """Tracer -> median of the highest rates, in turns."""
    worker = Worker()
    commands = _commands(_EVENTS, worker.pid)
    found: dict[str, list[float]] = {tool: [] for tool in commands if tool != "compiles"}
    for _ in range(runs):
        for tool, rates in found.items():
            rates.append(_rate(commands[tool], worker))
    worker.close()
    return {tool: statistics.median(rates) for tool, rates in found.items()}


def _compile_time(runs: int) -> float:
    """Seconds of processor time of a run that compiles, and ends."""
    body = " ".join(f"@map[{number}] = {number};" for number in range(_MANY))
    with tempfile.NamedTemporaryFile("w", suffix=".bt") as file:
        file.write(f"BEGIN {{ {body} }}\n")
        file.flush()
        taken = []
        for _ in range(runs):
            before = os.times()
            subprocess.run([sys.executable, "-m", "pybpf", "bt", "--dry-run", file.name], check=True, cwd=_ROOT)
            taken.append(
                os.times().children_user + os.times().children_system - before.children_user - before.children_system
            )
    return statistics.median(taken)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bt", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("script", nargs="*", help="only these: " + ", ".join(WORK))
    parser.add_argument("--runs", type=int, default=7, help="of each, after one that does not count (7)")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only-scripts", action="store_true", help="leave out the rate and the time to compile")
    some.add_argument("--only-rates", action="store_true", help="leave out the scripts and the time to compile")
    parser.add_argument("--json", action="store_true", help="with --only-rates: print them as JSON")
    options = parser.parse_args(argv)
    if shutil.which("bpftrace"):
        in_mount_namespace("benchmarks.bt")
    if options.only_rates:
        rates = _rates(options.runs)
        print(json.dumps(rates) if options.json else "\n".join(f"{tool:<10}{rates[tool]:>9.0f}" for tool in rates))
        return 0
    print(where(filter(shutil.which, ["bpftrace"])) + f", medians of {options.runs}\n")
    print(f"{'SCRIPT':<18}{'':<10}{'START':>9}{'CPU':>9}{'MB':>9}{'INSNS':>9}{'NS':>9}")
    ratios = []
    with run_time_stats(), tempfile.TemporaryDirectory() as kept:
        os.environ["XDG_CACHE_HOME"] = kept
        for name in options.script or WORK:
            found = _print(name, _row(name, options.runs))
            if found:
                ratios.append(found)
    if ratios:
        _line("median of ratios", "", ("{:.2f}",) * 5, [statistics.median(column) for column in zip(*ratios)])
    if not options.only_scripts:
        print(f"\nevents a second, as they were made, of which none is lost (medians of {options.runs}):")
        for tool, rate in _rates(options.runs).items():
            print(f"{'':<18}{tool:<10}{rate:>9.0f}", flush=True)
        taken = _compile_time(options.runs)
        print(f"\n{_MANY} assignments to maps are compiled in {taken:.2f} s of processor time, start included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
