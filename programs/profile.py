"""Sample what the CPUs run, by stack."""

from __future__ import annotations

from typing import Any

from pybpf.lang import pid
from pybpf.tool import (
    SECONDS,
    STACK_OPTIONS,
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
)

#: samples per second
HERTZ = 49


def trace(run: Run) -> None:
    """The probe, which runs at regular times on each CPU, and the report."""
    options = run.options
    keys = StackKeys(not options.user_stacks_only, not options.kernel_stacks_only)
    tracer = run.tracer(max_stacks=options.stack_storage_size)
    counts = tracer.count(StackKey, max_entries=options.hash_storage_size, double_buffered=run.repeats)
    idle: bool = options.include_idle
    frequency = None if options.count else options.frequency or HERTZ

    @tracer.perf_event("cpu-clock", frequency=frequency, period=options.count, cpu=options.cpu)
    def sample() -> None:
        if idle or pid() != 0:
            counts[keys.now()].add()

    style = StackStyle("    ", "    -                {comm} ({pid})", "        {value}", address=options.address,
                       annotate=options.annotations)
    report = StackReport(run, keys, style, "samples")
    run.start(tracer)
    if not options.folded:
        run.say(title(options))
    report.follow(counts)


def title(options: Any) -> str:
    """The first line, as BCC's."""
    rate = f"every {options.count} events" if options.count else f"at {options.frequency or HERTZ} Hertz"
    where = "" if options.cpu is None else f" on CPU#{options.cpu}"
    return f"Sampling {rate} of {stack_title(options, where=where)}"


def check(options: Any) -> str:
    """What does not go together."""
    if options.frequency and options.count:
        return "--frequency and --count exclude each other"
    return check_stacks(options)


TOOL = Tool(
    name="profile",
    topic="CPU",
    summary="sample what the CPUs run, by stack",
    trace=trace,
    check=check,
    probes=("the kernel's clock of each CPU (perf's cpu-clock); with --pid that of each thread of the process",),
    options=(
        SECONDS,
        option("-F", "--frequency", type=arguments.positive, metavar="HERTZ",
               help=f"samples per second (default: {HERTZ})"),
        option("-c", "--count", type=arguments.positive, metavar="N",
               help="instead: a sample every N events, which are nanoseconds of the clock"),
        *STACK_OPTIONS,
        option("-a", "--annotations", action="store_true", help="mark functions of the kernel by _[k]"),
        option("-A", "--address", action="store_true", help="also the address of each frame"),
        option("-I", "--include-idle", action="store_true", help="also what CPUs do that have nothing to do"),
        option("-C", "--cpu", type=arguments.cpu, metavar="CPU", help="only this CPU"),
        option("--hash-storage-size", type=arguments.positive, default=40960, metavar="N",
               help="how many pairs of process and stack can be counted"),
        *shared("pids follow tids=-L uid comm groups interval duration command exec json"),
    ),
    examples=(
        ("", "what all CPUs run, until Ctrl-C"),
        ("-F 99 -p 181 10", "process 181, 99 times a second, for ten seconds"),
        ("--flamegraph out.svg 30", "as a picture for a browser"),
        ("-f -a -d 30", "folded, for other programs"),
        ("-U --exec make", "what a command does in user space"),
    ),
    notes="""\
Stacks of processes need frame pointers. A process that has ended has names as they were in its last second.""",
)  # fmt: skip
main = TOOL.main
