"""Count how often functions are called, tracepoints are hit, and USDT probes are passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pybpf import char, u32, u64
from pybpf.lang import comm, cpu, pid
from pybpf.tool import Functions, Run, Tool, arguments, clean, option, shared, undisturbed

#: how many pairs of function and process (-P) are told apart in an interval
MAX_ENTRIES = 10240


def trace(run: Run) -> None:
    """The probe, which is at all of the functions, and a report per interval."""
    options = run.options
    run.require()
    found = Functions.of(options.pattern[-1], options.regexp, run.pid)
    tracer = run.tracer()
    by_process: bool = options.processes
    only_cpu: int | None = options.cpu
    counts = tracer.percpu_array(u64, 1 if by_process else len(found.names))
    calls = tracer.count((u32, char[16], u32), MAX_ENTRIES, double_buffered=run.repeats)

    def hit(index: int) -> None:
        if only_cpu is None or cpu() == only_cpu:
            if by_process:
                calls[pid(), comm(), index].add()
            else:
                counts[index] += 1

    found.attach(tracer, hit)
    if options.debug:
        run.say("\n".join(str(each.compiled.spec.code) for each in tracer.compile()))
    run.start(tracer)
    run.say(f'Tracing {len(found.names)} functions for "{clean(options.pattern[-1])}"... Hit Ctrl-C to end.')
    before: dict[int, int] = {}
    for when in run.intervals(options.interval):
        with undisturbed():
            if by_process:
                added: Mapping[Any, int] = {tuple(key): count for key, count in calls.changes().items()}
            else:
                now = {index: sum(counts.map[index]) for index in range(len(found.names))}
                added = {(index,): count - before.get(index, 0) for index, count in now.items()}
                before = now
        report(run, when, found, added)
    run.say("Detaching...")


def report(run: Run, when: float, found: Functions, added: Mapping[Any, int]) -> None:
    """One interval: what was called, the most at the end."""
    rows = sorted(((key, count) for key, count in added.items() if count), key=lambda row: row[1])
    output, by_process = run.output, run.options.processes
    if output.form == "json":
        names = ("pid", "comm") if by_process else ()
        objects = [{**dict(zip(names, key)), "function": found.names[key[-1]], "count": n} for key, n in rows]
        output.object({"time": round(when, 3), "counts": objects})
        return
    output.line()
    if run.options.timestamp:
        output.line(run.clock.now("%H:%M:%S", when))
    output.line((f"{'PID':<7} {'COMM':<16} " if by_process else "") + f"{'FUNC':<36} {'COUNT':>8}")
    for key, count in rows:
        process = f"{key[0]:<7} {clean(key[1]):<16} " if by_process else ""
        output.line(f"{process}{clean(found.names[key[-1]]):<36} {count:>8}")


def check(options: Any) -> str:
    """The words: a pattern, and before it, perhaps, a duration."""
    *before, _ = options.pattern
    if len(before) > 1:
        return "one pattern, and before it a duration, is all that can be given"
    for word in before:
        if options.duration:
            return f"there are two durations, {word} and --duration"
        try:
            options.duration = arguments.seconds(word)
        except Exception as error:
            return str(error)
    return ""


TOOL = Tool(
    name="funccount",
    topic="Functions and events",
    summary="count calls of functions that match a pattern",
    trace=trace,
    check=check,
    probes=(
        "kprobes of the kernel's functions (FUNCTION, p::FUNCTION), uprobes (LIBRARY:FUNCTION, p:LIBRARY:FUNCTION), "
        "tracepoints (t:SYSTEM:EVENT), USDT probes (u:LIBRARY:PROBE)",
    ),
    options=(
        option("pattern", nargs="+", metavar="PATTERN", help="what to count, with * for any text; a number before it "
               "is the duration in seconds"),
        option("-r", "--regexp", action="store_true", help="the pattern is a regular expression"),
        option("-P", "--processes", action="store_true", help="count each process by itself"),
        option("-c", "--cpu", type=arguments.cpu, metavar="CPU", help="only on this CPU"),
        option("-T", "--timestamp", action="store_true", help="print the time of each report"),
        option("-D", "--debug", action="store_true", help="print the instructions of the probe"),
        *shared("who interval ends json"),
    ),
    examples=(
        ("'vfs_*'", "the kernel's functions whose names begin with vfs_, until Ctrl-C"),
        ("-i 1 5 c:malloc", "of the C library, every second, for five seconds"),
        ("-P -p 181 'c:mem*'", "by process, of process 181"),
        ("'t:block:*'", "tracepoints"),
        ("-r '^u_?b' -d 10", "by a regular expression, for ten seconds"),
    ),
)  # fmt: skip
main = TOOL.main
