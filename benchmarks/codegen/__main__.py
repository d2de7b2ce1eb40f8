"""Compare compiled code: ``python -m benchmarks.codegen`` (as root).

Each reference probe of ``probes.py`` is compiled by pybpf, from equivalent C by ``clang -O2``, and run as a script of
bpftrace; peers that are not installed are left out. The same process does the same work under each, in turns. Printed:
instructions as the kernel has them after verification, where it has inlined map lookups; calls of helpers; and the
kernel's own run time per run of a program, the median of the turns. Where pybpf and clang have the kernel run a program
for that process only and bpftrace does not, bpftrace's time is by as many runs as the others had: those of other
processes, which it ends early, would make its average look small.

Events are read while the work is done (:mod:`benchmarks.codegen.consumer`; bpftrace prints them to a file), so that the
time is that of events that are sent and not of ones that find no room; ``LOST`` is how many found none, in all turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from benchmarks.codegen import probes
from benchmarks.codegen.clang import VARIABLES, compile_c
from benchmarks.codegen.consumer import Consumer
from benchmarks.worker import WORK, Worker, programs_of, where
from pybpf.arch import host_arch
from pybpf.asm import decode, slots
from pybpf.attach import btf_tracepoint, perf_event, tracepoint, uprobe, uretprobe
from pybpf.btf import Btf
from pybpf.lang.state.output import Events
from pybpf.maps import RingBufferReader
from pybpf.prog import Program, run_time_stats
from pybpf.symbols import find_binary
from pybpf.sys.bpf import MapType

__all__ = ["main"]

HERE = Path(__file__).parent
_CALL = 0x85
_ATTACH: dict[str, Callable[[Program, int], Any]] = {
    "opens.on_enter": lambda program, _: tracepoint(program, "syscalls:sys_enter_openat"),
    "opens.on_exit": lambda program, _: tracepoint(program, "syscalls:sys_exit_openat"),
    "syscall_latency.on_enter": lambda program, _: tracepoint(program, "raw_syscalls:sys_enter"),
    "syscall_latency.on_exit": lambda program, _: tracepoint(program, "raw_syscalls:sys_exit"),
    "malloc_stacks.on_malloc": lambda program, pid: uprobe(program, "libc.so.6", "malloc", pid=pid),
    "malloc_stacks.on_return": lambda program, pid: uretprobe(program, "libc.so.6", "malloc", pid=pid),
    "dns_latency.on_begin": lambda program, pid: uprobe(program, "libc.so.6", "getaddrinfo", pid=pid),
    "dns_latency.on_end": lambda program, pid: uretprobe(program, "libc.so.6", "getaddrinfo", pid=pid),
    "malloc_profile.on_malloc": lambda program, pid: uprobe(program, "libc.so.6", "malloc", pid=pid),
    "malloc_profile.on_return": lambda program, pid: uretprobe(program, "libc.so.6", "malloc", pid=pid),
    "comm_counts.on_enter": lambda program, _: tracepoint(program, "raw_syscalls:sys_enter"),
    "read_sizes.on_exit": lambda program, _: tracepoint(program, "syscalls:sys_exit_read"),
    "runqlat.on_wakeup": lambda program, _: btf_tracepoint(program),
    "runqlat.on_switch": lambda program, _: btf_tracepoint(program),
    "execs.on_exec": lambda program, _: tracepoint(program, "sched:sched_process_exec"),
    "tcp_states.on_state": lambda program, _: tracepoint(program, "sock:inet_sock_set_state"),
    "signals.on_signal": lambda program, _: tracepoint(program, "signal:signal_generate"),
    "write_stats.on_enter": lambda program, _: tracepoint(program, "syscalls:sys_enter_write"),
    "path_filter.on_enter": lambda program, _: tracepoint(program, "syscalls:sys_enter_openat"),
    "samples.on_sample": lambda program, pid: perf_event(program, "cpu-clock", frequency=99, pid=pid),
}
#: probes that bpftrace runs for other processes too
_CONFINED = frozenset({"malloc_stacks", "samples", "dns_latency", "malloc_profile"})


class Code(NamedTuple):
    """What the kernel was given for one probe: all of its programs together."""

    insns: int
    """In slots of 8 bytes, after verification."""
    calls: int
    """Calls of helpers that the kernel has not inlined."""
    runs: int
    time: float
    """ns a run."""
    lost: int
    """Events that found no room."""


class Loaded(NamedTuple):
    """A tracer that is attached, and reads its events."""

    pid: int
    """The process that holds its programs."""
    lost: Callable[[], int]


@contextmanager
def _pybpf(name: str, pid: int) -> Iterator[Loaded]:
    with getattr(probes, name)(pid) as tracer:
        events = [part for part in tracer.parts if isinstance(part, Events)]
        with Consumer(events):
            yield Loaded(os.getpid(), lambda: sum(each.lost for each in events))


@contextmanager
def _clang(name: str, pid: int) -> Iterator[Loaded]:
    arch = host_arch()
    types = Btf.vmlinux()
    defines = {
        "PID": pid,
        "ARGUMENT": arch.registers[arch.arguments[0]] // 8,
        "RESULT": arch.registers[arch.result] // 8,
        "TASK_PID": types.member("task_struct", "pid").offset,
        "TASK_TGID": types.member("task_struct", "tgid").offset,
    }
    compiled = compile_c(HERE / "c" / f"{name}.c", defines)
    with ExitStack() as owned:
        maps = {key: owned.enter_context(spec.create()) for key, spec in compiled.maps.items()}
        for function, spec in compiled.programs.items():
            program = owned.enter_context(Program.load(spec, maps))
            owned.enter_context(_ATTACH[f"{name}.{function}"](program, pid))
        rings = [each for each in maps.values() if each.spec.type is MapType.RINGBUF]
        owned.enter_context(Consumer([owned.enter_context(RingBufferReader(each)) for each in rings]))
        # bpf.h has one variable, in which it counts
        lost = maps.get(VARIABLES)
        yield Loaded(os.getpid(), lambda: int.from_bytes(bytes(lost[0][:8]), sys.byteorder) if lost else 0)


@contextmanager
def _bpftrace(name: str, pid: int) -> Iterator[Loaded]:
    script = (HERE.parent / "bt" / "scripts" / f"{name}.bt").read_text().replace("LIBC", find_binary("libc.so.6").path)
    # bpftrace wants tracefs mounted: in a mount namespace of its own, which leaves the host as it is
    mounted = 'mount -t tracefs tracefs /sys/kernel/tracing 2> /dev/null; exec bpftrace "$@"'
    command = ["unshare", "-m", "sh", "-c", mounted, "sh", "-B", "line", "-e"]
    command += [script + 'BEGIN { printf("attached\\n"); }', str(pid)]
    if "probe:" in script:  # as the others: only hits of this process, where this release can
        command[-1:] = ["-p", str(pid), str(pid)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            while "attached" not in (said := _text(output)):
                if process.poll() is not None:
                    raise RuntimeError(f"bpftrace failed with {name}.bt: {said}")
                time.sleep(0.05)
            yield Loaded(process.pid, lambda: sum(map(int, _LOST.findall(_text(output)))))
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have bpftrace end; a signal that comes while it still starts is lost on it."""
    while process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)


def _text(file: IO[str]) -> str:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


_TOOLS = {"pybpf": _pybpf, "clang": _clang, "bpftrace": _bpftrace}
_LOST = re.compile(r"^Lost (\d+) events", re.MULTILINE)
_NEEDS = {"clang": "clang", "bpftrace": "bpftrace"}


def _measure(tool: str, name: str, worker: Worker) -> Code:
    with ExitStack() as owned:
        loader = owned.enter_context(_TOOLS[tool](name, worker.pid))
        found = [owned.enter_context(Program.from_id(each)) for each in programs_of(loader.pid)]
        programs = [each for each in found if not re.search("begin|BEGIN|END|self", each.name)]
        worker.run(WORK[name])
        stats = [program.stats for program in programs]
        code = [decode(program.xlated()) for program in programs]
        lost = loader.lost()
    runs = sum(each.run_cnt for each in stats)
    return Code(
        sum(slots(insn) for each in code for insn in each),
        sum(insn.code == _CALL for each in code for insn in each),
        runs,
        sum(each.run_time_ns for each in stats) / max(1, runs),
        lost,
    )


def _turn(tools: list[str], name: str, worker: Worker) -> dict[str, Code]:
    """Each tool once."""
    made = {tool: _measure(tool, name, worker) for tool in tools}
    if name in _CONFINED and "bpftrace" in made:
        theirs, runs = made["bpftrace"], max(1, made["pybpf"].runs)
        made["bpftrace"] = theirs._replace(time=theirs.time * theirs.runs / runs)
    return made


def main(argv: list[str] | None = None) -> int:
    """Measure and print; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codegen", description=__doc__.split("\n")[0])
    parser.add_argument("probe", nargs="*", help="only these probes: " + ", ".join(WORK))
    parser.add_argument("--turns", type=int, default=7, help="how often each is run (default 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    tools = [tool for tool in _TOOLS if tool not in _NEEDS or shutil.which(_NEEDS[tool])]
    results: dict[str, dict[str, Code]] = {}
    if not arguments.json:
        print(f"{where(tool for tool in tools if tool in _NEEDS)}, medians of {arguments.turns}", flush=True)
    with run_time_stats():
        for name in arguments.probe or WORK:
            worker = Worker()
            turns = [_turn(tools, name, worker) for _ in range(arguments.turns)]
            worker.close()
            results[name] = {
                tool: turns[0][tool]._replace(
                    time=statistics.median(turn[tool].time for turn in turns),
                    lost=sum(turn[tool].lost for turn in turns),
                )
                for tool in tools
            }
            if not arguments.json:
                _print(name, results[name], first=len(results) == 1)
    if arguments.json:
        rows = {name: {tool: code._asdict() for tool, code in row.items()} for name, row in results.items()}
        print(json.dumps({"kernel": os.uname().release, "machine": os.uname().machine, "probes": rows}))
    return 0


def _print(name: str, row: dict[str, Code], first: bool) -> None:
    if first:
        print(f"{'PROBE':<16}" + "".join(f"{tool:>10} INSNS CALLS     NS   LOST" for tool in row))
    cells = "".join(
        f"{'':>10} {code.insns:>5} {code.calls:>5} {code.time:>6.0f} {code.lost:>6}" for code in row.values()
    )
    print(f"{name:<16}{cells}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
