"""Sum up the time that threads do not run, by the stack that they wait with."""

from __future__ import annotations

from typing import Any

from pybpf import Struct, Tracer, u32, u64
from pybpf.lang import current_task, kernel_ptr, ktime_ns, tid
from pybpf.tool import (
    RECORD_STATES,
    SECONDS,
    STACK_OPTIONS,
    FirstOf,
    Run,
    StackKey,
    StackKeys,
    StackReport,
    StackStyle,
    Tool,
    arguments,
    check_stacks,
    option,
    shared,
    stack_title,
    task_state,
)

SWITCH = FirstOf(
    "tp_btf:sched_switch", "tracepoint:sched:sched_switch", "kprobe:finish_task_switch.isra.0",
    "kprobe:finish_task_switch", what="switches from one thread to the next",
)  # fmt: skip

MAX_ENTRIES = 10240
#: microseconds
MOST_TIME = (1 << 63) // 1000
Task: Any = kernel_ptr("struct task_struct")
#: flag of a task that is a thread of the kernel (PF_KTHREAD)
KERNEL_THREAD = 0x00200000
#: states that only records of the tracepoint have: the thread has ended (EXIT_DEAD, EXIT_ZOMBIE)
RECORD_ENDED = 0x30


class Waiting(Struct):
    """A thread that does not run."""

    since: u64
    key: StackKey


def trace(run: Run) -> None:
    """Attach, and report."""
    options = run.options
    keys = StackKeys(not options.user_stacks_only, not options.kernel_stacks_only)
    tracer = run.tracer(max_stacks=options.stack_storage_size)
    spent = tracer.sum(StackKey, max_entries=MAX_ENTRIES, double_buffered=run.repeats)
    probe(tracer, options, keys, spent)
    style = StackStyle("    ", "    -                {comm} ({pid})", "        {value}", options.offset)
    report = StackReport(run, keys, style, "off-CPU time", "microseconds", "us")
    run.start(tracer)
    if not options.folded:
        run.say(f"Tracing off-CPU time (us) of {stack_title(options, whom(options))}")
    report.follow(spent, per=1000)


def probe(tracer: Tracer, options: Any, keys: StackKeys, spent: Any) -> None:
    """The probes. Who runs at the tracepoint is the thread that leaves, at the function the one that returns."""
    waiting = tracer.hash(u32, Waiting, max_entries=MAX_ENTRIES)
    least, most = options.min_block_time * 1000, options.max_block_time * 1000
    states: int | None = options.state
    threads_only, kernel_only = options.user_threads_only or options.kernel_threads_only, options.kernel_threads_only

    def wanted(task: Any) -> bool:
        return not threads_only or bool(task.flags & KERNEL_THREAD) == kernel_only

    def wanted_state(state: int) -> bool:
        return states is None or (bool(state & states) if states else state == 0)

    def leaves(state: int) -> None:
        if tid() and wanted_state(state):  # 0: the CPU has nothing to do
            waiting[tid()] = Waiting(since=ktime_ns(), key=keys.now())

    def returns(thread: int) -> None:
        begun = waiting.pop(thread)
        if begun is not None:
            ns = ktime_ns() - begun.since
            if least <= ns <= most:
                spent[begun.key].add(ns)

    @SWITCH.on(tracer, "tp_btf")
    def task_leaves(prev: Any) -> None:
        if wanted(prev) and not prev.exit_state:
            leaves(task_state(prev))

    @SWITCH.on(tracer, "tp_btf", everyone=True)
    def task_returns(next: Any) -> None:
        returns(next.pid)

    @SWITCH.on(tracer, "tracepoint")
    def record_leaves(args: Any) -> None:
        if not args.prev_state & RECORD_ENDED and (not threads_only or wanted(current_task())):
            leaves(args.prev_state & RECORD_STATES)

    @SWITCH.on(tracer, "tracepoint", everyone=True)
    def record_returns(args: Any) -> None:
        returns(args.next_pid)

    @SWITCH.on(tracer, "kprobe", everyone=True)
    def switched_from(prev: Task) -> None:
        if prev.pid and not prev.exit_state and wanted(prev) and wanted_state(task_state(prev)):
            waiting[prev.pid] = Waiting(since=ktime_ns())

    @SWITCH.on(tracer, "kprobe")
    def switched_to() -> None:
        begun = waiting.pop(tid())
        if begun is not None:
            ns = ktime_ns() - begun.since
            if least <= ns <= most:
                spent[keys.now()].add(ns)


def whom(options: Any) -> str:
    """Whose time it is, where no process is given."""
    if options.kernel_threads_only:
        return "kernel threads"
    return "user threads" if options.user_threads_only else "all threads"


def microseconds(text: str) -> int:
    """A time to wait."""
    return arguments.whole(text, 1, MOST_TIME)


def check(options: Any) -> str:
    """What does not go together."""
    if options.kernel_threads_only and options.user_threads_only:
        return "--kernel-threads-only and --user-threads-only exclude each other"
    if options.min_block_time > options.max_block_time:
        return "--min-block-time is above --max-block-time"
    return check_stacks(options)


TOOL = Tool(
    name="offcputime",
    topic="CPU",
    summary="sum up the time that threads do not run, by stack",
    trace=trace,
    check=check,
    probes=(SWITCH,),
    options=(
        SECONDS,
        option("-k", "--kernel-threads-only", action="store_true", help="only threads of the kernel"),
        option("-u", "--user-threads-only", action="store_true", help="no threads of the kernel"),
        *STACK_OPTIONS,
        option("-s", "--offset", action="store_true", help="how far into each function"),
        option("-m", "--min-block-time", type=microseconds, default=1, metavar="US",
               help="only waits of so many microseconds at least"),
        option("-M", "--max-block-time", type=microseconds, default=MOST_TIME, metavar="US",
               help="only waits of so many microseconds at most (default: any)"),
        option("--state", type=arguments.bits, metavar="MASK",
               help="only waits in these states, a bit each (2: TASK_UNINTERRUPTIBLE; 0: it could run on)"),
        *shared("pids follow tids uid comm groups interval duration command exec json"),
    ),
    examples=(
        ("5", "where all threads wait, for five seconds"),
        ("-p 181 -m 1000", "waits of process 181 of a millisecond and more"),
        ("--state 2 -K", "uninterruptible waits, as for disks; the kernel's stacks"),
        ("-f -d 10", "folded"),
        ("--flamegraph out.svg 30", "as a picture for a browser"),
    ),
    notes="""\
A wait counts when it ends: what still waits is not shown. Stacks of processes need frame pointers.""",
)  # fmt: skip
main = TOOL.main
