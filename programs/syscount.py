"""Count system calls by name or by process; the example of a tracer written with the assembler."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing, nullcontext
from difflib import get_close_matches
from typing import NamedTuple

from pybpf import tool
from pybpf.arch import host_arch, syscall_names
from pybpf.asm import assemble
from pybpf.attach import Link, raw_tracepoint, tracepoint
from pybpf.errors import UnsupportedError
from pybpf.maps import Array, HashMap, LruHash, Map, PerCpuHash
from pybpf.prog import Program, ProgramSpec, ProgType
from pybpf.report import printable
from pybpf.types import Struct, char, u32, u64

EXAMPLES = """\
examples:
  pybpf syscount                  count by system call until Ctrl-C
  pybpf syscount -P -i 1          the busiest processes, every second
  pybpf syscount -p 181 -L -d 10  time that process 181 spends in each call, for 10 s
  pybpf syscount -x -e ENOENT     calls that fail with ENOENT
  pybpf syscount --exec ls /      the calls of one command

attaches to: raw_syscalls:sys_enter; with -L, -x or -e also sys_exit; sched:sched_process_exit to tidy up
needs: root, or CAP_BPF and CAP_PERFMON"""

#: How many calls or processes are told apart, and how many threads can be inside a call at once.
MAX_ENTRIES = 10240

#: The highest number that a system call could have.
MOST_NUMBER = (1 << 31) - 1

#: Inode number of the pid namespace that the kernel starts with (PROC_PID_INIT_INO, include/linux/proc_ns.h).
INITIAL_PID_NAMESPACE = 0xEFFFFFFC


class Count(Struct):
    """What one CPU knows of one system call or process."""

    calls: u64
    ns: u64


class Begun(Struct):
    """The system call that a thread is in."""

    time: u64
    number: u64


class Row(NamedTuple):
    """One line of the report."""

    key: int  #: number of the system call, or pid
    name: str
    calls: int
    ns: int


# The programs. Their context is that of a raw tracepoint or of a tracefs tracepoint: in both, the number of the
# call is at offset 8 of sys_enter. r6: number, r7: pid << 32 | tid, r8: result, r9: nanoseconds.

COUNT_AT_ENTRY = """
    r6 = *(u64 *)(r1 +8)
    {filters}
    {count}
out:
    r0 = 0
    exit
"""

NOTE_ENTRY = """
    r6 = *(u64 *)(r1 +8)
    {filters}
    *(u32 *)(r10 -4) = r7
    *(u64 *)(r10 -16) = r6
    call bpf_ktime_get_ns
    *(u64 *)(r10 -24) = r0
    r1 = map[begun]
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -24
    r4 = 0
    call bpf_map_update_elem
    if r0 == 0 goto out
    r2 = 1
    r1 = map[lost][0]+0
    lock *(u64 *)(r1 +0) += r2
out:
    r0 = 0
    exit
"""

COUNT_AT_EXIT = """
    r8 = *(u64 *)(r1 +{result})
    {identity}
    *(u32 *)(r10 -4) = r7
    r1 = map[begun]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto out                     ; not wanted, or begun before the tracing
    r9 = *(u64 *)(r0 +0)
    r6 = *(u64 *)(r0 +8)
    r1 = map[begun]
    r2 = r10
    r2 += -4
    call bpf_map_delete_elem
    {filters}
    call bpf_ktime_get_ns
    r0 -= r9
    r9 = r0
    {count}
out:
    r0 = 0
    exit
"""

COUNT = """
    {key}
    *(u32 *)(r10 -4) = r6
    r1 = map[counts]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 != 0 goto found
    r1 = 0
    *(u64 *)(r10 -16) = r1
    *(u64 *)(r10 -24) = r1
    r1 = map[counts]
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -24
    r4 = 1                                  ; BPF_NOEXIST: another CPU may be doing the same
    call bpf_map_update_elem
    r1 = map[counts]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 != 0 goto found
    r2 = 1
    r1 = map[lost][0]+0
    lock *(u64 *)(r1 +0) += r2
    goto out
found:                                      ; this CPU's own value: no other writes it
    r1 = *(u64 *)(r0 +0)
    r1 += 1
    *(u64 *)(r0 +0) = r1
    {add_time}
"""

ADD_TIME = """
    r1 = *(u64 *)(r0 +8)
    r1 += r9
    *(u64 *)(r0 +8) = r1
"""

IDENTITY = """
    call bpf_get_current_pid_tgid
    r7 = r0
"""

# In a pid namespace of its own, such as a container's, the tool and /proc know processes by other ids.
IDENTITY_IN_NAMESPACE = """
    r1 = {device}
    r2 = {inode} ll
    r3 = r10
    r3 += -48
    r4 = 8
    call bpf_get_ns_current_pid_tgid
    if r0 != 0 goto out                     ; a process outside
    r7 = *(u32 *)(r10 -44)
    r7 <<= 32
    r1 = *(u32 *)(r10 -48)
    r7 |= r1
"""

PROCESS_KEY = """
    r6 = r7
    r6 >>= 32
"""

PID_FILTER = """
    r1 = r7
    r1 >>= 32
    if r1 != {pid} goto out
"""

TID_FILTER = """
    r1 = r7
    r1 <<= 32
    r1 >>= 32
    if r1 != {tid} goto out
"""

PARENT_FILTER = """
    call bpf_get_current_task
    r3 = r0
    r3 += {real_parent}
    r1 = r10
    r1 += -8
    r2 = 8
    call bpf_probe_read
    r3 = *(u64 *)(r10 -8)
    r3 += {tgid}
    r1 = r10
    r1 += -8
    r2 = 4
    call bpf_probe_read
    r1 = *(u32 *)(r10 -8)
    if r1 != {ppid} goto out
"""

SYSCALL_FILTER = """
    if r6 != {number} goto out
"""

FAILED_FILTER = """
    if r8 s>= 0 goto out
    if r8 s< -4095 goto out                 ; an address, not an error
"""

ERRNO_FILTER = """
    if r8 != -{errno} goto out
"""

# What happens at the end of a thread: a call that does not return is over, and a process leaves its name, for which
# it cannot be asked later.
FORGET_CALL = """
    *(u32 *)(r10 -4) = r7
    r1 = map[begun]
    r2 = r10
    r2 += -4
    call bpf_map_delete_elem
"""

NOTE_NAME = """
    r1 = r7
    r1 >>= 32
    *(u32 *)(r10 -4) = r1
    r7 <<= 32
    r7 >>= 32
    if r7 != r1 goto out                    ; a thread, not the process
    r1 = map[counts]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto out
    r1 = r10
    r1 += -24
    r2 = 16
    call bpf_get_current_comm
    r1 = map[names]
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -24
    r4 = 0
    call bpf_map_update_elem
"""

AT_END = """
    {identity}
    {forget_call}
    {note_name}
out:
    r0 = 0
    exit
"""


def programs(options: argparse.Namespace, result: int) -> dict[str, str]:
    """Tracepoint -> text of the program for it.

    :param result: offset of a call's result in the context of sys_exit: 8 in raw tracepoints, 16 in tracefs ones.
    """
    identity = identify()
    filters = [SYSCALL_FILTER.format(number=options.syscall)] if options.syscall is not None else []
    if options.process or options.pid or options.tid or options.timed:
        filters.append(identity)
    if options.pid:
        filters.append(PID_FILTER.format(pid=options.pid))
    if options.tid:
        filters.append(TID_FILTER.format(tid=options.tid))
    if options.ppid:
        filters.append(PARENT_FILTER.format(ppid=options.ppid, **parent_offsets()))
    wanted = "".join(filters)
    count = COUNT.format(key=PROCESS_KEY if options.process else "", add_time=ADD_TIME if options.timed else "")
    if not options.timed:
        texts = {"raw_syscalls:sys_enter": COUNT_AT_ENTRY.format(filters=wanted, count=count)}
    else:
        results = ERRNO_FILTER.format(errno=options.errno) if options.errno else ""
        results = results or (FAILED_FILTER if options.failures else "")
        at_exit = COUNT_AT_EXIT.format(result=result, identity=identity, filters=results, count=count)
        texts = {"raw_syscalls:sys_exit": at_exit, "raw_syscalls:sys_enter": NOTE_ENTRY.format(filters=wanted)}
    forget_call = FORGET_CALL if options.timed else ""
    note_name = NOTE_NAME if options.process else ""
    if forget_call or note_name:
        at_end = AT_END.format(identity=identity, forget_call=forget_call, note_name=note_name)
        texts = {"sched:sched_process_exit": at_end, **texts}
    return texts


def identify() -> str:
    """The code that finds out which process and thread this is, as the tool's own pid namespace numbers them."""
    namespace = os.stat("/proc/self/ns/pid")
    if namespace.st_ino == INITIAL_PID_NAMESPACE:
        return IDENTITY
    return IDENTITY_IN_NAMESPACE.format(device=namespace.st_dev, inode=namespace.st_ino)


def parent_offsets() -> dict[str, int]:
    """Where task_struct keeps what the parent filter reads.

    :raises UnsupportedError: parents are known by their ids in the initial pid namespace only.
    """
    from pybpf.btf import Btf

    if identify() != IDENTITY:
        cause = "the kernel numbers parents as outside this pid namespace"
        raise UnsupportedError("filter by --ppid", errno.EOPNOTSUPP, cause, "run it in the host's pid namespace")
    btf = Btf.vmlinux()
    return {name: btf.member("struct task_struct", name).offset for name in ("real_parent", "tgid")}


class Counter:
    """The maps and programs in the kernel, attached until :meth:`close`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._stack = ExitStack()
        own = self._stack.enter_context
        with self._stack:
            self.counts = own(PerCpuHash(u32, Count, max_entries=MAX_ENTRIES, name="counts"))
            self.names = own(LruHash(u32, char[16], max_entries=MAX_ENTRIES, name="names"))
            self.uncounted = own(Array(u64, max_entries=1, name="lost"))
            self.maps: dict[str, Map] = {"counts": self.counts, "names": self.names, "lost": self.uncounted}
            if options.timed:
                self.maps["begun"] = own(HashMap(u32, Begun, max_entries=MAX_ENTRIES, name="begun"))
            try:
                self.programs = self._attach(options, ProgType.RAW_TRACEPOINT, raw_tracepoint, result=8)
            except UnsupportedError:
                self.programs = self._attach(options, ProgType.TRACEPOINT, tracepoint, result=16)
            self._stack = self._stack.pop_all()

    def _attach(
        self, options: argparse.Namespace, kind: ProgType, attach: Callable[[Program, str], Link], result: int
    ) -> list[Program]:
        """Load and attach the programs, the one that counts before the one that feeds it."""
        loaded = []
        with ExitStack() as stack:
            for target, text in programs(options, result).items():
                name = target.partition(":")[2]
                program = Program.load(ProgramSpec(kind, assemble(text), name=name), self.maps)
                loaded.append(stack.enter_context(program))
                stack.enter_context(attach(program, name if kind == ProgType.RAW_TRACEPOINT else target))
            self._stack.push(stack.pop_all())
        return loaded

    def totals(self) -> dict[int, tuple[int, int]]:
        """key -> (calls, nanoseconds) since the start, over all CPUs."""
        return {key: (sum(v.calls for v in cpus), sum(v.ns for v in cpus)) for key, cpus in self.counts.items()}

    def lost(self) -> int:
        """Calls that could not be counted: a map was full, or a program was not run because it was running."""
        lost: int = self.uncounted[0]
        return lost + sum(program.info().recursion_misses or 0 for program in self.programs)

    def forget(self, pid: int) -> None:
        """Make room: the process has ended and was reported."""
        self.counts.pop(pid, None)
        self.names.pop(pid, None)

    def close(self) -> None:
        """Detach everything and free the maps."""
        self._stack.close()


class Report:
    """Turns the totals into what happened in each interval, and prints it."""

    def __init__(self, options: argparse.Namespace, counter: Counter) -> None:
        self.options = options
        self.counter = counter
        self.calls = syscall_names(host_arch())
        self.before: dict[int, tuple[int, int]] = {}
        self.ended: set[int] = set()
        self.lost_before = 0

    def rows(self) -> list[Row]:
        """What the last interval saw, the most first."""
        totals = self.counter.totals()
        for pid in self.ended & totals.keys():  # they had ended before these totals, which are their last
            self.counter.forget(pid)
        rows = []
        for key, (calls, ns) in totals.items():
            calls_before, ns_before = self.before.get(key, (0, 0))
            if calls > calls_before:
                name = self.process(key) if self.options.process else self.syscall(key)
                rows.append(Row(key, name, calls - calls_before, ns - ns_before))
        self.before = {key: total for key, total in totals.items() if key not in self.ended}
        if self.options.process:
            self.ended = {pid for pid in self.before if not os.path.exists(f"/proc/{pid}")}
        rows.sort(key=lambda row: (row.ns if self.options.latency else row.calls, row.calls), reverse=True)
        return rows[: self.options.top]

    def syscall(self, number: int) -> str:
        """The name of a system call."""
        return self.calls.get(number, f"[unknown: {number}]")

    def process(self, pid: int) -> str:
        """The name of a process, also of one that has ended."""
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="surrogateescape") as file:
                return file.read().rstrip("\n")
        except OSError:
            return str(self.counter.names.get(pid, "[unknown]"))

    def print(self, when: float) -> None:
        """Print one interval, and on stderr what could not be counted."""
        rows = self.rows()
        total = self.counter.lost()
        lost, self.lost_before = total - self.lost_before, total
        if self.options.json:
            self.print_json(when, rows, lost)
        else:
            self.print_table(when, rows)
        sys.stdout.flush()
        if lost:
            print(f"syscount: {lost} calls could not be counted", file=sys.stderr)

    def print_table(self, when: float, rows: Iterable[Row]) -> None:
        """The columns of BCC's syscount."""
        unit, per_unit, digits = ("ms", 1e6, 6) if self.options.milliseconds else ("us", 1e3, 3)
        print(time.strftime("[%H:%M:%S]", time.localtime(when)))
        title = "PID    COMM" if self.options.process else "SYSCALL"
        print(f"{title:<22} {'COUNT':>8}" + (f" {f'TIME ({unit})':>16}" if self.options.latency else ""))
        for row in rows:
            name = printable(row.name)
            name = f"{row.key:<6} {name}" if self.options.process else name
            spent = f" {row.ns / per_unit:>16.{digits}f}" if self.options.latency else ""
            print(f"{name:<22} {row.calls:>8}{spent}")
        print()

    def print_json(self, when: float, rows: Iterable[Row], lost: int) -> None:
        """One object per interval, on one line."""
        key, name = ("pid", "comm") if self.options.process else ("number", "syscall")
        counts = [
            {key: row.key, name: row.name, "count": row.calls, **({"time_ns": row.ns} if self.options.latency else {})}
            for row in rows
        ]
        print(json.dumps({"time": round(when, 3), "counts": counts, "lost": lost}))


def syscall_number(text: str) -> int:
    """Option type: a system call by name or number."""
    numbers = {name: number for number, name in syscall_names(host_arch()).items()}
    number = numbers.get(text, int(text) if text.isdecimal() else None)
    if number is None or number > MOST_NUMBER:
        near = get_close_matches(text, numbers, 1)
        hint = f"did you mean {near[0]}?" if near else "--list shows the names"
        raise argparse.ArgumentTypeError(f"no system call {text!r} on {host_arch().name}; {hint}")
    return number


def errno_number(text: str) -> int:
    """Option type: an error by name or number."""
    number = getattr(errno, text.upper(), None) if not text.isdecimal() else int(text)
    if not isinstance(number, int) or not 0 < number < 4096:
        raise argparse.ArgumentTypeError(f"no error {text!r}; write a name such as ENOENT, or its number")
    return number


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, as BCC's syscount has them."""
    parser = tool.parser("syscount", __doc__.partition(";")[0] + ".", EXAMPLES)
    add = parser.add_argument
    add("-p", "--pid", type=tool.pid, help="only this process")
    add("-t", "--tid", type=tool.tid, help="only this thread")
    add("-c", "--ppid", type=tool.pid, help="only children of this process")
    add("--syscall", type=syscall_number, metavar="NAME", help="only this system call")
    add("-x", "--failures", action="store_true", help="only calls that fail")
    add("-e", "--errno", type=errno_number, help="only calls that fail with this error (name or number)")
    add("-P", "--process", action="store_true", help="count by process, not by call")
    add("-L", "--latency", action="store_true", help="also the time spent in the calls; sorts by it")
    add("-m", "--milliseconds", action="store_true", help="times in milliseconds, not microseconds")
    add("-T", "--top", type=tool.positive, default=10, metavar="N", help="print the first N lines (default: 10)")
    add("-i", "--interval", type=tool.seconds, metavar="S", help="print, and start from zero, every S seconds")
    add("-d", "--duration", type=tool.seconds, metavar="S", help="end after S seconds (default: at Ctrl-C)")
    add("--json", action="store_true", help="one JSON object per interval; times in nanoseconds")
    add("-l", "--list", action="store_true", help="list the system calls of this machine and end")
    add("--exec", nargs=argparse.REMAINDER, metavar="COMMAND", help="run a command, count its calls, end with it")
    options = parser.parse_args(arguments)
    if options.exec is not None and (not options.exec or options.pid or options.tid):
        parser.error("--exec takes a command, and neither --pid nor --tid with it")
    options.timed = options.latency or options.failures or options.errno is not None
    return options


def main(arguments: Sequence[str]) -> int:
    """Run the tool; returns its exit code."""
    options = parse(arguments)
    if options.list:
        for number, name in syscall_names(host_arch()).items():
            print(f"{number:3d}: {name}")
        return 0
    tool.require("CAP_BPF", "CAP_PERFMON")
    with tool.Child(options.exec) if options.exec else nullcontext() as child:
        options.pid = child.pid if child else options.pid
        with closing(Counter(options)) as counter, tool.Run(options.duration, options.pid) as run:
            report = Report(options, counter)
            if not options.json:
                what = "processes" if options.process else "system calls"
                print(f"Counting {what}, printing the top {options.top}... Ctrl-C ends.", flush=True)
            if child:
                child.start()
            for when in run.intervals(options.interval):
                report.print(when)
            if not options.json:
                print("Detaching...")
    return 0
