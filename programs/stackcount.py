"""Count the stacks that lead to functions, tracepoints and USDT probes."""

from __future__ import annotations

from typing import Any

from pybpf.lang import cpu
from pybpf.tool import (
    STACK_OPTIONS,
    Functions,
    Run,
    StackKey,
    StackKeys,
    StackReport,
    StackStyle,
    Tool,
    arguments,
    check_stacks,
    clean,
    option,
    shared,
)

MAX_ENTRIES = 10240


def trace(run: Run) -> None:
    """The probe, which is at all of the functions, and a report per interval."""
    options = run.options
    run.require()
    found = Functions.of(options.pattern, options.regexp, run.pid)
    tracer = run.tracer(max_stacks=options.stack_storage_size)
    of_kernel = found.kind in ("kprobe", "tracepoint")  # at others the kernel's stack is that of the probe
    kernel: bool = options.kernel_stacks_only or (of_kernel and not options.user_stacks_only)
    keys = StackKeys(kernel, not options.kernel_stacks_only, options.perpid)
    counts = tracer.count(StackKey, max_entries=MAX_ENTRIES, double_buffered=run.repeats)
    only_cpu: int | None = options.cpu

    def hit(index: int) -> None:
        if only_cpu is None or cpu() == only_cpu:
            counts[keys.now()].add()

    found.attach(tracer, hit)
    if options.debug:
        run.say("\n".join(str(each.compiled.spec.code) for each in tracer.compile()))
    report = StackReport(run, keys, style(options), "calls")
    run.start(tracer)
    if not options.folded:
        run.say(f'Tracing {len(found.names)} functions for "{clean(options.pattern)}"... Hit Ctrl-C to end.')
    report.follow(counts, times=options.timestamp)
    if not options.folded:
        run.say("Detaching...")


def style(options: Any) -> StackStyle:
    """How BCC's stackcount prints."""
    process = "    {comm} [{pid}]" if options.perpid or options.pid is None else ""
    return StackStyle("  ", process, "    {value}", options.offset, options.addresses)


TOOL = Tool(
    name="stackcount",
    topic="Functions and events",
    summary="count the stacks that lead to functions and events",
    trace=trace,
    check=check_stacks,
    probes=(
        "kprobes of the kernel's functions (FUNCTION, p::FUNCTION), uprobes (LIBRARY:FUNCTION, p:LIBRARY:FUNCTION), "
        "tracepoints (t:SYSTEM:EVENT), USDT probes (u:LIBRARY:PROBE)",
    ),
    options=(
        option("pattern", metavar="PATTERN", help="what to count, with * for any text"),
        option("-r", "--regexp", action="store_true", help="the pattern is a regular expression"),
        *STACK_OPTIONS,
        option("-P", "--perpid", action="store_true",
               help="count each process by itself; where there are stacks of processes that is always so"),
        option("-c", "--cpu", type=arguments.cpu, metavar="CPU", help="only on this CPU"),
        option("-T", "--timestamp", action="store_true", help="print the time of each report"),
        option("-s", "--offset", action="store_true", help="how far into each function"),
        option("-v", "--addresses", action="store_true", help="also the address of each frame"),
        option("--debug", action="store_true", help="print the instructions of the probe"),
        *shared("who interval duration=-D command exec json"),
    ),
    examples=(
        ("submit_bio", "stacks that lead to I/O of disks, until Ctrl-C"),
        ("-p 181 -i 1 -D 5 c:malloc", "to malloc in process 181, every second, for five seconds"),
        ("-K -P t:sched:sched_switch", "the kernel's stacks, of each process"),
        ("--flamegraph out.svg 'c:mem*'", "as a picture for a browser"),
        ("-r '^tcp_send.*'", "by a regular expression"),
    ),
    notes="""\
Stacks of processes need frame pointers. Of uprobes and USDT probes only stacks of processes are taken, unless -K is
given.""",
)  # fmt: skip
main = TOOL.main
