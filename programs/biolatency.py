"""Show how long block devices take for requests, as a histogram."""

from __future__ import annotations

from typing import Any

from pybpf import NotFoundError, Tracer, u32, u64
from pybpf.btf import Btf
from pybpf.lang import ktime_ns
from pybpf.tool import UNITS, FirstOf, Run, TimeReport, Tool, disks, option, shared

QUEUED = FirstOf(*disks.MADE.places, what="requests that are queued")
DONE = FirstOf(
    "tp_btf:block_rq_complete", "tracepoint:block:block_rq_complete", "kprobe:__blk_account_io_done",
    "kprobe:blk_account_io_done", what="requests that are done",
)  # fmt: skip

MAX_ENTRIES = 10240
#: the operation of a request, in the low bits of its flags; its names are enumerators req_op of the kernel
OPERATION = 0xFF
#: names that BCC has, by the kernel's, in the order in which they come before the operation
OPERATIONS = {
    "READ": "Read", "WRITE": "Write", "FLUSH": "Flush", "DISCARD": "Discard", "SECURE_ERASE": "SecureErase",
    "ZONE_RESET": "ZoneReset", "WRITE_SAME": "WriteSame", "WRITE_ZEROES": "WriteZeros",
}  # fmt: skip
FLAGS = {
    "NOWAIT": "NoWait", "BACKGROUND": "Background", "RAHEAD": "ReadAhead", "FUA": "ForcedUnitAccess", "IDLE": "Idle",
    "NOMERGE": "NoMerge", "PRIO": "Priority", "META": "Metadata", "SYNC": "Sync",
}  # fmt: skip


def trace(run: Run) -> None:
    """Attach, and report."""
    run.require()
    options = run.options
    by_request = not any(each.choose().startswith("tracepoint:") for each in (disks.ISSUED, DONE))
    if options.flags and not by_request:
        raise NotFoundError("--flags needs type information (BTF) or kprobes: tracepoints do not have the flags")
    tracer = run.tracer()
    spent = tracer.histogram(key=u32, double_buffered=run.repeats)
    total = tracer.stats()
    probe(run, tracer, by_request, spent, total)
    report = time_report(run)
    run.start(tracer)
    run.say("Tracing block device I/O... Hit Ctrl-C to end.")
    report.follow(spent.changes, total.changes)


def probe(run: Run, tracer: Tracer, by_request: bool, spent: Any, total: Any) -> None:
    """The probes. Who runs when a device is given a request, or is done, says nothing of it; who makes it does."""
    options = run.options
    queued: bool = options.queued
    filtered = run.chooses_tasks
    begun = tracer.hash(u64 if by_request else (u32, u64), u64, max_entries=MAX_ENTRIES)
    by_disk: bool = options.disks
    by_flags: bool = options.flags
    per_unit = UNITS[unit_of(options)]
    disk: int | None = disks.number_of(options.disk) if options.disk else None

    def begins(key: Any, number: int, made: bool) -> None:
        if disk is not None and number != disk:
            return
        if made or not filtered or key in begun:
            begun[key] = ktime_ns()

    def given(key: Any, number: int) -> None:
        if key not in begun:
            begins(key, number, True)

    def ends(key: Any, under: int) -> None:
        start = begun.pop(key)
        if start is not None:
            ns = ktime_ns() - start
            spent[under].add(ns // per_unit)
            total.add(ns)

    def request_made(rq: disks.Request) -> None:
        begins(u64(rq), disks.of_request(rq), True)

    def request_given(rq: disks.Request) -> None:
        given(u64(rq), disks.of_request(rq))

    def request_issued(rq: disks.Request) -> None:
        begins(u64(rq), disks.of_request(rq), False)

    def request_done(rq: disks.Request) -> None:
        ends(u64(rq), disks.of_request(rq) if by_disk else rq.cmd_flags if by_flags else 0)

    def record_made(args: Any) -> None:
        begins((args.dev, args.sector), args.dev, True)

    def record_given(args: Any) -> None:
        given((args.dev, args.sector), args.dev)

    def record_issued(args: Any) -> None:
        begins((args.dev, args.sector), args.dev, False)

    def record_done(args: Any) -> None:
        ends((args.dev, args.sector), args.dev if by_disk else 0)

    kinds = ("tp_btf", "kprobe") if by_request else ("tracepoint",)
    if queued or filtered:
        QUEUED.on(tracer, *kinds)(request_made if by_request else record_made)
        if not disks.sees_all_made():
            disks.ISSUED.on(tracer, *kinds)(request_given if by_request else record_given)
    if not queued:
        disks.ISSUED.on(tracer, *kinds, everyone=True)(request_issued if by_request else record_issued)
    DONE.on(tracer, *kinds, everyone=True)(request_done if by_request else record_done)


def time_report(run: Run) -> TimeReport:
    """What is reported, in which unit and by what."""
    options = run.options
    names = flag_names() if options.flags else {}

    def flags_of(key: int) -> str:
        words = [names[bit] for bit in names if bit > OPERATION and key & bit]
        return "-".join([*words, names.get(key & OPERATION, "Unknown")])

    return TimeReport(
        run, unit_of(options), "disk" if options.disks else "flags" if options.flags else "",
        name=disks.name_of if options.disks else flags_of, average=options.extension,
    )  # fmt: skip


def unit_of(options: Any) -> str:
    """What times are counted in."""
    return "msecs" if options.milliseconds else "usecs"


def flag_names() -> dict[int, str]:
    """Operation, or bit of a flag -> its name, as the kernel's types have them."""
    value_of = Btf.vmlinux().constant
    operations = {value_of(f"REQ_OP_{name}"): text for name, text in OPERATIONS.items()}
    bits = {value_of(f"__REQ_{name}"): text for name, text in FLAGS.items()}
    flags = {1 << bit: text for bit, text in bits.items() if bit is not None}
    return {**{value: text for value, text in operations.items() if value is not None}, **flags}


def check(options: Any) -> str:
    """What does not go together."""
    return "--disks and --flags exclude each other" if options.disks and options.flags else ""


TOOL = Tool(
    name="biolatency",
    topic="Files and disks",
    summary="histograms of the time that disks take for requests",
    trace=trace,
    check=check,
    probes=(disks.ISSUED, QUEUED, DONE),
    options=(
        option("-T", "--timestamp", action="store_true", help="print the time of each report"),
        option("-Q", "--queued", action="store_true", help="count the time in the queue, too"),
        option("-m", "--milliseconds", action="store_true", help="milliseconds, not microseconds"),
        option("-D", "--disks", action="store_true", help="a histogram for each disk"),
        option("-F", "--flags", action="store_true", help="a histogram for each set of flags"),
        option("-e", "--extension", action="store_true", help="also average, total and count"),
        option("-d", "--disk", metavar="DISK", help="only this disk, as sda"),
        *shared("who every count duration command exec json=-j heatmap"),
    ),
    examples=(
        ("", "until Ctrl-C, then a histogram"),
        ("-D -m 1 10", "each disk, in milliseconds, every second, ten times"),
        ("-Q -d sda", "with the time in the queue, of one disk"),
        ("-F -j 5", "by flags, every five seconds, as JSON"),
    ),
    notes="""\
With -Q the time counts from the queue, without from when the device is given the request. Filters are about who makes
the request: for what is written later, a thread of the kernel.""",
)
main = TOOL.main
