"""Trace processes that end: how long they ran, and how they ended."""

from __future__ import annotations

import signal
from typing import Any

from pybpf import Struct, char, u32, u64
from pybpf.lang import comm, current_task, ktime_ns, pid, ppid, tid
from pybpf.tool import Column, FirstOf, Moment, Run, Tool, option, shared

ENDS = FirstOf("tp_btf:sched_process_exit", "tracepoint:sched:sched_process_exit", what="processes that end")

#: of the number that wait(2) gives: the signal, that there is a dump, and where the exit code begins
SIGNAL, DUMPED, CODE = 0x7F, 0x80, 8


#: flag of struct signal_struct: all threads were told to end, and how (SIGNAL_GROUP_EXIT)
GROUP_EXIT = 4
#: how many processes are remembered: the last two threads of one may see both that no other is left
RECENT = 1024


class Exit(Struct):
    """A thread that ends, or a process."""

    time: u64
    begun: u64
    pid: u32
    tid: u32
    ppid: u32
    status: u32
    comm: char[16]


def trace(run: Run) -> None:
    """The probe, and a row for each process that ends."""
    options = run.options
    per_thread: bool = options.per_thread
    # a process has the name and the id of its first thread, whichever ends last
    tracer = run.tracer() if per_thread else run.tracer(comm=None, tid=None)
    exits = tracer.events(Exit)
    only_failed: bool = options.failed
    only_comm: str | None = options.comm
    only_tid: int | None = options.tid

    def thread_ends() -> None:
        task = current_task()
        status = u32(task.exit_code)
        if not only_failed or status:
            exits.emit(time=ktime_ns(), begun=task.start_time, pid=pid(), tid=tid(), ppid=ppid(), status=status,
                       comm=comm())  # fmt: skip

    def process_ends() -> None:
        signals, first = current_task().signal, current_task().group_leader
        if signals.live.counter:  # other threads run on
            return
        if (only_comm is not None and first.comm != only_comm) or (only_tid is not None and pid() != only_tid):
            return
        status = u32(signals.group_exit_code if signals.flags & GROUP_EXIT else first.exit_code)
        if not only_failed or status:
            exits.emit(time=ktime_ns(), begun=first.start_time, pid=pid(), tid=pid(), ppid=ppid(), status=status,
                       comm=first.comm)  # fmt: skip

    ENDS.on(tracer)(thread_ends if per_thread else process_ends)
    seen: dict[tuple[int, int], None] = {}

    def write(event: Exit) -> None:
        key = event.pid, event.begun
        if per_thread or key not in seen:
            rows.write(event)
        seen[key] = None
        if len(seen) > RECENT:
            del seen[next(iter(seen))]

    rows = run.rows(columns(run), lambda event: "red" if event.status else "",
                    Moment(lambda event: str(event.comm), lambda event: event.time - event.begun))
    run.start(tracer)
    rows.header()
    run.deliver({exits: write})


def columns(run: Run) -> list[Column]:
    """Those of BCC's exitsnoop."""
    options, clock = run.options, run.clock

    def age(event: Any) -> Any:
        return (event.time - event.begun) / 1e9

    return [
        Column(f"TIME-{clock.zone(options.utc)}", "%-13s", "time", lambda event: clock.unix(event.time),
               options.timestamp or options.utc, lambda event: clock.text_ms(event.time, options.utc)),
        Column("LABEL", "%-6s", "label", lambda event: options.label, options.label is not None),
        Column("PCOMM", "%-16s ", "comm", lambda event: event.comm),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("PPID", "%-7d ", "ppid", lambda event: event.ppid),
        Column("TID", "%-7d ", "tid", lambda event: event.tid),
        Column("AGE(s)", "%-7.2f ", "age_s", age),
        Column("EXIT_CODE", "%-10s", "exit_code", lambda event: event.status >> CODE, text=how),
        Column("SIGNAL", "%s", "signal", lambda event: event.status & SIGNAL, False),
        Column("DUMPED", "%s", "core_dumped", lambda event: bool(event.status & DUMPED), False),
    ]  # fmt: skip


def how(event: Any) -> str:
    """How a process ended."""
    number = event.status & SIGNAL
    if not number:
        return f"code {event.status >> CODE}" if event.status >> CODE else "0"
    try:
        name = signal.Signals(number).name[len("SIG") :]
    except ValueError:
        name = f"RT{number}"
    return f"signal {number} ({name})" + (", core dumped" if event.status & DUMPED else "")


TOOL = Tool(
    name="exitsnoop",
    topic="Processes",
    summary="trace processes that end, with age and exit code",
    trace=trace,
    follows=True,
    probes=(ENDS,),
    options=(
        option("-t", "--timestamp", action="store_true", help="print the time of day"),
        option("--utc", action="store_true", help="the same in UTC"),
        option("-x", "--failed", action="store_true", help="only those that fail or are killed"),
        option("--label", metavar="TEXT", help="print this in each row"),
        option("--per-thread", action="store_true", help="each thread, not only whole processes"),
        *shared("ppid who ends rows perfetto"),
    ),
    examples=(
        ("", "all processes that end"),
        ("-x -t", "those that fail, with the time"),
        ("--follow -c 'make -j4'", "what a command starts"),
    ),
    notes="Needs type information of the kernel (BTF).",
)
main = TOOL.main
