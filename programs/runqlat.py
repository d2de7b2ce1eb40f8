"""Show how long threads that could run wait for a CPU, as a histogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pybpf import NotFoundError, Tracer, u32, u64
from pybpf.lang import ktime_ns
from pybpf.report import Log2Histogram
from pybpf.tool import RECORD_STATES, FirstOf, HeatMaps, Run, Tool, option, shared, task_state, undisturbed

WOKEN = FirstOf("tp_btf:sched_wakeup", "tracepoint:sched:sched_wakeup", what="threads that are woken")
STARTED = FirstOf("tp_btf:sched_wakeup_new", "tracepoint:sched:sched_wakeup_new", what="threads that begin")
SWITCH = FirstOf("tp_btf:sched_switch", "tracepoint:sched:sched_switch", what="switches from one thread to the next")

MAX_ENTRIES = 10240
#: by what histograms can be told apart, and what a task has of it
KEYS = {"pids": "pid", "tids": "tid", "pidnss": "pidns"}


def trace(run: Run) -> None:
    """Attach, and report."""
    options = run.options
    tracer = run.tracer()
    spent = tracer.histogram(key=u32)
    section = next((KEYS[name] for name in KEYS if getattr(options, name)), "")
    probe(run, tracer, section, spent)
    unit = "msecs" if options.milliseconds else "usecs"
    maps = HeatMaps(run, unit)
    run.start(tracer)
    run.say("Tracing run queue latency... Hit Ctrl-C to end.")
    for when in run.intervals(maps.interval(options.interval), options.count):
        with undisturbed():
            counted = spent.changes()
        histograms = dict(sorted(counted.items()))
        maps.add(when, {f"{section} = {key}" if section else "": each for key, each in histograms.items()})
        report(run, when, histograms, section, unit)
    maps.save()


def probe(run: Run, tracer: Tracer, section: str, spent: Any) -> None:
    """The probes. Whoever runs at them is not who waits: what is wanted is asked of the thread."""
    options = run.options
    ready = tracer.hash(u32, u64, max_entries=MAX_ENTRIES)
    per_unit = 1_000_000 if options.milliseconds else 1_000
    process: int | None = run.pid
    thread: int | None = options.tid
    user: int | None = options.uid
    name: str | None = options.comm
    if SWITCH.choose().startswith("tracepoint:") and (process or user is not None or section in ("pid", "pidns")):
        raise NotFoundError("--pid, --uid, --pids and --pidnss need type information (BTF): records have only threads")

    def wanted(task: Any) -> bool:
        if (process is not None and task.tgid != process) or (thread is not None and task.pid != thread):
            return False
        if user is not None and task.cred.uid.val != user:
            return False
        return task.pid != 0 and (name is None or task.comm == name)  # 0: the CPU has nothing to do

    def wanted_record(pid: int, comm: Any) -> bool:
        return pid != 0 and (thread is None or pid == thread) and (name is None or comm == name)

    def runs(thread: int, key: int) -> None:
        since = ready.pop(thread)
        if since is not None:
            spent[key].add((ktime_ns() - since) // per_unit)

    @STARTED.on(tracer, "tp_btf", everyone=True)
    @WOKEN.on(tracer, "tp_btf", everyone=True)
    def woken(p: Any) -> None:
        if wanted(p):
            ready[p.pid] = ktime_ns()

    @SWITCH.on(tracer, "tp_btf", everyone=True)
    def switched(preempt: Any, prev: Any, next: Any) -> None:
        if (preempt or not task_state(prev)) and wanted(prev):
            ready[prev.pid] = ktime_ns()
        runs(next.pid, key_of(next, section))

    @STARTED.on(tracer, "tracepoint", everyone=True)
    @WOKEN.on(tracer, "tracepoint", everyone=True)
    def woken_record(args: Any) -> None:
        if wanted_record(args.pid, args.comm):
            ready[args.pid] = ktime_ns()

    @SWITCH.on(tracer, "tracepoint", everyone=True)
    def switched_record(args: Any) -> None:
        if not args.prev_state & RECORD_STATES and wanted_record(args.prev_pid, args.prev_comm):
            ready[args.prev_pid] = ktime_ns()
        runs(args.next_pid, args.next_pid if section == "tid" else 0)


def key_of(task: Any, section: str) -> Any:
    """Which histogram a task counts in."""
    if section == "pidns":
        return task.nsproxy.pid_ns_for_children.ns.inum
    return task.tgid if section == "pid" else task.pid if section == "tid" else 0


def report(run: Run, when: float, histograms: Mapping[int, Log2Histogram], section: str, unit: str) -> None:
    """One interval, as BCC prints it."""
    output = run.output
    if output.form == "json":
        rows = [{**({section: key} if section else {}), **each.to_dict()} for key, each in histograms.items()]
        output.object({"time": round(when, 3), "unit": unit, "histograms": rows})
        return
    output.line()
    if run.options.timestamp:
        output.line(run.clock.now("%H:%M:%S\n", when))
    for key, each in histograms.items():
        if section:
            output.line(f"\n{section} = {key}")
        output.histogram(each, unit)


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
        *shared("pid tid uid comm every count duration command exec json heatmap"),
    ),
    examples=(
        ("", "until Ctrl-C, then a histogram"),
        ("-m -T 1 10", "in milliseconds, every second, ten times"),
        ("-L -p 181", "each thread of process 181"),
        ("--heatmap out.html -d 60", "a minute, as a picture for a browser"),
    ),
    notes="""\
A thread waits from when it is woken, or has to leave its CPU to others, until it runs. Ids are those of the host.""",
)
main = TOOL.main
