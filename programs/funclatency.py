"""Show how long functions take, as a histogram."""

from __future__ import annotations

from typing import Any

from pybpf import NotFoundError, Tracer, u32, u64
from pybpf.lang import ktime_ns, pid, tid
from pybpf.tool import UNITS, Functions, Run, TimeReport, Tool, arguments, clean, option, shared, struct

MAX_ENTRIES = 10240


def trace(run: Run) -> None:
    """Attach, and report."""
    options = run.options
    run.require()
    found = Functions.of(options.pattern, options.regexp, run.pid)
    if found.kind not in ("kprobe", "uprobe"):
        raise NotFoundError(f"{options.pattern!r} names no functions: events take no time")
    tracer = run.tracer()
    by_process = found.kind == "uprobe" and run.pid is None
    unit = "msecs" if options.milliseconds else "usecs" if options.microseconds else "nsecs"
    spent = tracer.histogram(key=(u32, u32), double_buffered=run.repeats)
    total = tracer.stats()
    deep = tracer.count()
    probe(tracer, found, options, by_process, UNITS[unit], (spent, total, deep))

    def name_of(key: Any) -> str:
        function, process = tuple(key)
        return f"{found.names[function]} [{process}]" if by_process else found.names[function]

    section = "function" if options.function or by_process else ""
    report = TimeReport(run, unit, section, section.title(), name=name_of, average=True, stamp="%H:%M:%S")
    run.start(tracer)
    run.say(f'Tracing {len(found.names)} functions for "{clean(options.pattern)}"... Hit Ctrl-C to end.')
    report.follow(spent.changes, total.changes)
    if deep.value:
        run.warn(f"{deep.value} calls were not timed, for they were inside of {options.level} others; see --level")
    run.say("Detaching...")


def probe(tracer: Tracer, found: Functions, options: Any, by_process: bool, per_unit: int, into: Any) -> None:
    """The probes, where functions begin and where they return. A thread can be inside of several calls."""
    spent, total, deep = into
    levels: int = options.level
    by_function: bool = options.function or by_process
    thread_type = struct("Thread", {"depth": u32, "functions": u32[levels], "since": u64[levels]})
    inside = tracer.lru_hash(u32, thread_type, max_entries=MAX_ENTRIES)  # threads that end inside are forgotten

    def begins(function: int) -> None:
        thread = inside.setdefault(tid(), thread_type())
        if thread is None:
            return
        depth = thread.depth
        thread.depth = depth + 1
        if depth < levels:
            thread.functions[depth] = function
            thread.since[depth] = ktime_ns()

    def returns(function: int) -> None:
        now = ktime_ns()
        thread = inside.get(tid())
        if thread is None:
            return
        depth = thread.depth - 1
        if depth >= levels:
            thread.depth = depth
            deep.add()
            return
        while depth >= 0 and thread.functions[depth] != function:  # was left without a return, as by longjmp()
            depth -= 1
        if depth < 0:  # began before the tracing
            return
        ns = now - thread.since[depth]
        spent[function if by_function else 0, pid() if by_process else 0].add(ns // per_unit)
        total.add(ns)
        if depth:
            thread.depth = depth
        else:
            del inside[tid()]

    found.attach(tracer, returns, ret=True)
    found.attach(tracer, begins)


def check(options: Any) -> str:
    """What does not go together."""
    if options.level > MOST_LEVELS:
        return f"--level is at most {MOST_LEVELS}"
    both = options.milliseconds and options.microseconds
    return "--milliseconds and --microseconds exclude each other" if both else ""


#: deepest nesting that is timed, at most
MOST_LEVELS = 256

TOOL = Tool(
    name="funclatency",
    topic="Functions and events",
    summary="histograms of the time that functions take",
    trace=trace,
    check=check,
    probes=(
        "kprobes and kretprobes of the kernel's functions (FUNCTION, p::FUNCTION), uprobes and uretprobes "
        "(LIBRARY:FUNCTION, p:LIBRARY:FUNCTION)",
    ),
    options=(
        option("pattern", metavar="PATTERN", help="which functions, with * for any text"),
        option("-r", "--regexp", action="store_true", help="the pattern is a regular expression"),
        option("-u", "--microseconds", action="store_true", help="microseconds, not nanoseconds"),
        option("-m", "--milliseconds", action="store_true", help="milliseconds, not nanoseconds"),
        option("-F", "--function", action="store_true", help="a histogram for each function"),
        option("-l", "--level", type=arguments.positive, default=16, metavar="N",
               help="time calls inside of each other, of one thread, so deep"),
        option("-T", "--timestamp", action="store_true", help="print the time of each report"),
        *shared("who interval ends json heatmap"),
    ),
    examples=(
        ("vfs_read", "how long reads take, in nanoseconds"),
        ("-u -i 1 -d 10 -p 181 c:malloc", "malloc of process 181, each second"),
        ("-F -m 'vfs_fsync*'", "each function by itself, in milliseconds"),
        ("-r '^tcp_send' --heatmap out.html", "as a picture for a browser"),
    ),
    notes="""\
Functions that call themselves, or others of the pattern, are timed by themselves, all that they call included. Of a
library without --pid each process has its own histograms.""",
)  # fmt: skip
main = TOOL.main
