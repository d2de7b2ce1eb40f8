"""Show how long threads that could run wait for a CPU, as a histogram."""

from __future__ import annotations

from typing import Any

from pybpf import NotFoundError, Struct, Tracer, u32, u64
from pybpf.lang import ktime_ns, pid, tid
from pybpf.tool import RECORD_STATES, UNITS, FirstOf, Run, TimeReport, Tool, option, shared, task_state

WOKEN = FirstOf("tp_btf:sched_wakeup", "tracepoint:sched:sched_wakeup", what="threads that are woken")
STARTED = FirstOf("tp_btf:sched_wakeup_new", "tracepoint:sched:sched_wakeup_new", what="threads that begin")
SWITCH = FirstOf("tp_btf:sched_switch", "tracepoint:sched:sched_switch", what="switches from one thread to the next")

MAX_ENTRIES = 10240
#: by what histograms can be told apart, and what a task has of it
KEYS = {"pids": "pid", "tids": "tid", "pidnss": "pidns"}


class Wait(Struct):
    """A wait of a thread that has its CPU now."""

    ns: u64
    pidns: u32  #: where histograms are told apart by it


def trace(run: Run) -> None:
    """Attach, and report."""
    options = run.options
    tracer = run.tracer()
    spent = tracer.histogram(key=u32, double_buffered=run.repeats)
    section = next((KEYS[name] for name in KEYS if getattr(options, name)), "")
    if section == "pidns" and SWITCH.choose().startswith("tracepoint:"):
        raise NotFoundError("--pidnss needs type information (BTF): records have only threads")
    unit = "msecs" if options.milliseconds else "usecs"
    probe(tracer, section, UNITS[unit], spent)
    report = TimeReport(run, unit, section)
    run.start(tracer)
    run.say("Tracing run queue latency... Hit Ctrl-C to end.")
    report.follow(spent.changes)


def probe(tracer: Tracer, section: str, per_unit: int, spent: Any) -> None:
    """The probes. A wait counts when the thread leaves its CPU again: it is who runs then, as filters need it."""
    ready = tracer.hash(u32, u64, max_entries=MAX_ENTRIES)
    waits = tracer.lru_hash(u32, Wait, max_entries=MAX_ENTRIES)  # also of threads that no filter lets pass

    def runs(thread: int, pidns: int) -> None:
        since = ready.pop(thread)
        if since is not None:
            waits[thread] = Wait(ns=ktime_ns() - since, pidns=pidns)

    def leaves(thread: int) -> None:
        wait = waits.pop(thread)
        if wait is not None:
            key = pid() if section == "pid" else tid() if section == "tid" else wait.pidns
            spent[key].add(wait.ns // per_unit)

    @STARTED.on(tracer, "tp_btf", everyone=True)
    @WOKEN.on(tracer, "tp_btf", everyone=True)
    def woken(p: Any) -> None:
        ready[p.pid] = ktime_ns()

    @SWITCH.on(tracer, "tp_btf")
    def task_leaves(prev: Any) -> None:
        leaves(prev.pid)

    @SWITCH.on(tracer, "tp_btf", everyone=True)
    def switched(preempt: Any, prev: Any, next: Any) -> None:
        if prev.pid and (preempt or not task_state(prev)):  # 0: the CPU has nothing to do
            ready[prev.pid] = ktime_ns()
        runs(next.pid, next.nsproxy.pid_ns_for_children.ns.inum if section == "pidns" else 0)

    @STARTED.on(tracer, "tracepoint", everyone=True)
    @WOKEN.on(tracer, "tracepoint", everyone=True)
    def woken_record(args: Any) -> None:
        ready[args.pid] = ktime_ns()

    @SWITCH.on(tracer, "tracepoint")
    def record_leaves(args: Any) -> None:
        leaves(args.prev_pid)

    @SWITCH.on(tracer, "tracepoint", everyone=True)
    def record_switched(args: Any) -> None:
        if args.prev_pid and not args.prev_state & RECORD_STATES:
            ready[args.prev_pid] = ktime_ns()
        runs(args.next_pid, 0)


def check(options: Any) -> str:
    """What does not go together."""
    chosen = [f"--{name}" for name in KEYS if getattr(options, name)]
    return f"{' and '.join(chosen)} exclude each other" if len(chosen) > 1 else ""


TOOL = Tool(
    name="runqlat",
    topic="CPU",
    summary="histograms of the time that threads wait for a CPU",
    trace=trace,
    check=check,
    probes=(WOKEN, STARTED, SWITCH),
    options=(
        option("-T", "--timestamp", action="store_true", help="print the time of each report"),
        option("-m", "--milliseconds", action="store_true", help="milliseconds, not microseconds"),
        option("-P", "--pids", action="store_true", help="a histogram for each process"),
        option("-L", "--tids", action="store_true", help="a histogram for each thread"),
        option("--pidnss", action="store_true", help="a histogram for each pid namespace"),
        *shared("who every count duration command exec json heatmap"),
    ),
    examples=(
        ("", "until Ctrl-C, then a histogram"),
        ("-m -T 1 10", "in milliseconds, every second, ten times"),
        ("-L -p 181", "each thread of process 181"),
        ("--heatmap out.html -d 60", "a minute, as a picture for a browser"),
    ),
    notes="""\
A thread waits from when it is woken, or has to leave its CPU to others, until it runs. A wait counts when the thread
leaves its CPU again.""",
)
main = TOOL.main
