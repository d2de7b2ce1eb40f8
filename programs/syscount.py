"""Count system calls by name or by process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pybpf import Struct, char, s64, u32, u64
from pybpf.arch import host_arch, syscall_names
from pybpf.lang import comm, current_task, has_field, ktime_ns, ns_pid, pid, tid
from pybpf.tool import FirstOf, Run, Tool, arguments, clean, option, shared, undisturbed

# No other task interrupts programs at records of tracepoints. At raw tracepoints it may since Linux 7.0, which then
# skips the program for that task: those are for who may not see tracefs.
ENTER = FirstOf("tracepoint:raw_syscalls:sys_enter", "raw_tracepoint:sys_enter", what="system calls")
LEAVE = FirstOf("tracepoint:raw_syscalls:sys_exit", "raw_tracepoint:sys_exit", what="results of system calls")
END = FirstOf("tracepoint:sched:sched_process_exit", "raw_tracepoint:sched_process_exit", what="ends of threads")

#: How many calls or processes are told apart, and how many threads can be inside a call at once.
MAX_ENTRIES = 10240

#: Marks the number of a call that is made as 32-bit programs make it: those numbers mean other calls.
COMPAT = 1 << 31
COMPAT_FLAG = host_arch().compat_flag


def call_of(number: int) -> int:
    """What the number of a system call is counted under."""
    if has_field("struct thread_info", "status"):
        flags = current_task().thread_info.status
    elif has_field("struct thread_info", "flags"):
        flags = current_task().thread_info.flags
    else:
        return number
    return number | COMPAT if flags & COMPAT_FLAG else number


class Begun(Struct):
    """The system call that a thread is in."""

    time: u64
    call: s64


class Counting:
    """The probes, and what they count.

    :ivar calls: :func:`call_of`, or with -P pid -> how many; with -L also how long.
    """

    def __init__(self, run: Run) -> None:
        options = run.options
        tracer = self.tracer = run.tracer()
        by_process: bool = options.process
        timed: bool = options.latency
        wanted: int | None = options.syscall
        error: int | None = options.errno
        make = tracer.stats if timed else tracer.count
        self.calls = calls = make(u32, max_entries=MAX_ENTRIES, double_buffered=run.repeats)
        self.begun = begun = tracer.hash(u32, Begun, max_entries=MAX_ENTRIES)
        self.names = names = tracer.lru_hash(u32, char[16], max_entries=MAX_ENTRIES)

        def enter(number: int) -> None:
            call = call_of(number)
            if wanted is not None and call != wanted:
                return
            if timed:
                begun[tid()] = Begun(time=ktime_ns(), call=call)
            else:
                count(call, 0)

        def leave(number: int, result: int) -> None:
            if timed:
                start = begun.pop(tid())
                if start is not None and counts(result):  # None: not wanted, or begun before the tracing
                    count(start.call, ktime_ns() - start.time)
            elif number >= 0 and counts(result):  # -1: rt_sigreturn
                call = call_of(number)
                if wanted is None or call == wanted:
                    count(call, 0)

        def counts(result: int) -> bool:
            if error is not None:
                return result == -error
            return not options.failures or -4095 <= result < 0  # what is below is an address

        def count(call: int, ns: int) -> None:
            key = ns_pid() if by_process else call
            if by_process and key == 0:  # in a container: a process outside of it
                return
            if timed:
                calls[key].add(ns)
            else:
                calls[key].add()

        def end() -> None:
            """With a thread ends its call; a process leaves its name, for which it cannot be asked later."""
            if timed:
                del begun[tid()]
            if by_process and tid() == pid():
                names[ns_pid()] = comm()

        with_result = timed or options.failures or error is not None
        if timed or by_process:
            END.on(tracer)(end)
        if with_result:
            self._at_results(leave)
        if timed or not with_result:
            self._at_calls(enter)

    def _at_calls(self, enter: Callable[[int], None]) -> None:
        @ENTER.on(self.tracer, "tracepoint")
        def enter_record(args: Any) -> None:
            enter(args.id)

        @ENTER.on(self.tracer, "raw_tracepoint")
        def enter_raw(regs: Any, id: Any) -> None:
            enter(id)

    def _at_results(self, leave: Callable[[int, int], None]) -> None:
        @LEAVE.on(self.tracer, "tracepoint")
        def leave_record(args: Any) -> None:
            leave(args.id, args.ret)

        @LEAVE.on(self.tracer, "raw_tracepoint")
        def leave_raw(regs: Any, ret: Any) -> None:
            leave(regs.orig_ax if has_field("struct pt_regs", "orig_ax") else regs.syscallno, ret)

    def lost(self) -> int:
        """Calls that could not be counted: a map was full, or a program was not run because it was running."""
        return self.calls.dropped + self.begun.dropped + self.tracer.missed


class Row(NamedTuple):
    """One line of the report."""

    key: int  #: number of the system call, or pid
    name: str
    calls: int
    ns: int


class Report:
    """Prints what happened in each interval."""

    def __init__(self, run: Run, counting: Counting) -> None:
        self.options = run.options
        self.output = run.output
        self.counting = counting
        self.syscalls = syscall_names(host_arch())
        self.lost = 0

    def rows(self) -> list[Row]:
        """What the last interval saw, the most first."""
        by_process, timed = self.options.process, self.options.latency
        name = self.process if by_process else self.syscall
        rows = [
            Row(key, name(key), added.count, added.total) if timed else Row(key, name(key), added, 0)
            for key, added in self.counting.calls.changes().items()
        ]
        rows.sort(key=lambda row: (row.ns, row.calls), reverse=True)
        return rows[: self.options.top]

    def syscall(self, call: int) -> str:
        """The name of a system call."""
        if call & COMPAT:
            return f"[32-bit: {call & ~COMPAT}]"
        return self.syscalls.get(call, f"[unknown: {call}]")

    def process(self, process: int) -> str:
        """The name of a process, also of one that has ended."""
        try:
            with open(f"/proc/{process}/comm", encoding="utf-8", errors="surrogateescape") as file:
                return file.read().rstrip("\n")
        except OSError:
            return str(self.counting.names.get(process, "[unknown]"))

    def print(self, when: float) -> None:
        """Print one interval."""
        with undisturbed():
            rows = self.rows()
            before, self.lost = self.lost, self.counting.lost()
        lost = self.lost - before
        if self.options.json:
            self.print_json(when, rows, lost)
        else:
            self.print_table(when, rows)

    def print_table(self, when: float, rows: Iterable[Row]) -> None:
        """The columns of BCC's syscount."""
        unit, per_unit, digits = ("ms", 1e6, 6) if self.options.milliseconds else ("us", 1e3, 3)
        line = self.output.line
        line(time.strftime("[%H:%M:%S]", time.localtime(when)))
        title = "PID    COMM" if self.options.process else "SYSCALL"
        line(f"{title:<22} {'COUNT':>8}" + (f" {f'TIME ({unit})':>16}" if self.options.latency else ""))
        for row in rows:
            name = clean(row.name)
            name = f"{row.key:<6} {name}" if self.options.process else name
            spent = f" {row.ns / per_unit:>16.{digits}f}" if self.options.latency else ""
            line(f"{name:<22} {row.calls:>8}{spent}")
        line()

    def print_json(self, when: float, rows: Iterable[Row], lost: int) -> None:
        """One object per interval, on one line."""
        key, name = ("pid", "comm") if self.options.process else ("number", "syscall")
        counts = [
            {
                key: row.key & ~COMPAT,
                name: row.name,
                "count": row.calls,
                **({"time_ns": row.ns} if self.options.latency else {}),
            }
            for row in rows
        ]
        self.output.object({"time": round(when, 3), "counts": counts, "lost": lost})


def trace(run: Run) -> None:
    """Count, and report."""
    options = run.options
    if options.list:
        for number, name in syscall_names(host_arch()).items():
            run.output.line(f"{number:3d}: {name}")
        return
    counting = Counting(run)
    report = Report(run, counting)
    run.start(counting.tracer)
    what = "processes" if options.process else "system calls"
    run.say(f"Counting {what}, printing the top {options.top}... Ctrl-C ends.")
    for when in run.intervals(options.interval):
        report.print(when)
    run.say("Detaching...")


TOOL = Tool(
    name="syscount",
    topic="Processes",
    summary="count system calls by name or by process",
    trace=trace,
    probes=(ENTER, LEAVE, END),
    options=(
        option("--syscall", type=arguments.syscall, metavar="NAME", help="only this system call"),
        option("-x", "--failures", action="store_true", help="only calls that fail"),
        option("-e", "--errno", type=arguments.error_number, help="only calls that fail so (name or number)"),
        option("-P", "--process", action="store_true", help="count by process, not by call"),
        option("-L", "--latency", action="store_true", help="also the time spent in the calls; sorts by it"),
        option("-m", "--milliseconds", action="store_true", help="times in milliseconds, not microseconds"),
        option("-l", "--list", action="store_true", help="list the system calls of this machine and end"),
        *shared("ppid=-c who"),
        *shared("top=-T", default=10),
        *shared("interval duration exec json"),
    ),
    examples=(
        ("", "count by system call until Ctrl-C"),
        ("-P -i 1", "the busiest processes, every second"),
        ("-p 181 -L -d 10", "time that process 181 spends in each call, for 10 s"),
        ("-x -e ENOENT", "calls that fail with ENOENT"),
        ("--exec ls /", "the calls of one command"),
    ),
    notes="""\
JSON has an object per interval; its times are nanoseconds. A call of a 32-bit program is shown by its number, as
[32-bit: 20], where the kernel has type information (BTF).""",
)
main = TOOL.main
