"""Show how long block devices take for requests, as a histogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pybpf import NotFoundError, u32, u64
from pybpf.btf import Btf
from pybpf.lang import kernel_ptr, ktime_ns
from pybpf.report import Log2Histogram
from pybpf.tool import FirstOf, HeatMaps, Run, Tool, disks, option, shared, undisturbed

ISSUED = FirstOf(
    "tp_btf:block_rq_issue", "tracepoint:block:block_rq_issue", "kprobe:blk_mq_start_request",
    what="requests that a device is given",
)  # fmt: skip
QUEUED = FirstOf(
    "tp_btf:block_io_start", "tracepoint:block:block_io_start", "kprobe:__blk_account_io_start",
    "kprobe:blk_account_io_start", "tp_btf:block_rq_insert", "tracepoint:block:block_rq_insert",
    what="requests that are queued",
)  # fmt: skip
DONE = FirstOf(
    "tp_btf:block_rq_complete", "tracepoint:block:block_rq_complete", "kprobe:__blk_account_io_done",
    "kprobe:blk_account_io_done", what="requests that are done",
)  # fmt: skip

MAX_ENTRIES = 10240
#: what all of these places have, under one name or another
Request: Any = kernel_ptr("struct request")
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
    """The probes, and a report per interval."""
    options = run.options
    begins = QUEUED if options.queued else ISSUED
    by_request = begins.choose().partition(":")[0] != "tracepoint" and DONE.choose().partition(":")[0] != "tracepoint"
    if options.flags and not by_request:
        raise NotFoundError("--flags needs type information (BTF) or kprobes: tracepoints do not have the flags")
    tracer = run.tracer()
    by_disk: bool = options.disks
    by_flags: bool = options.flags
    begun = tracer.hash(u64 if by_request else (u32, u64), u64, max_entries=MAX_ENTRIES)
    spent = tracer.histogram(key=u32)
    total = tracer.stats()
    per_unit = 1_000_000 if options.milliseconds else 1_000
    disk: int | None = disks.number_of(options.disk) if options.disk else None

    def request_begins(rq: Request) -> None:
        if disk is None or disks.of_request(rq) == disk:
            begun[u64(rq)] = ktime_ns()

    def request_ends(rq: Request) -> None:
        start = begun.pop(u64(rq))
        if start is not None:
            count(start, disks.of_request(rq) if by_disk else rq.cmd_flags if by_flags else 0)

    def record_begins(args: Any) -> None:
        if disk is None or args.dev == disk:
            begun[args.dev, args.sector] = ktime_ns()

    def record_ends(args: Any) -> None:
        start = begun.pop((args.dev, args.sector))
        if start is not None:
            count(start, args.dev if by_disk else 0)

    def count(start: int, key: int) -> None:
        ns = ktime_ns() - start
        spent[key].add(ns // per_unit)
        total.add(ns)

    # whoever happens to run when a request begins or ends says nothing of it
    kinds = ("tp_btf", "kprobe") if by_request else ("tracepoint",)
    begins.on(tracer, *kinds, everyone=True)(request_begins if by_request else record_begins)
    DONE.on(tracer, *kinds, everyone=True)(request_ends if by_request else record_ends)

    run.start(tracer)
    run.say("Tracing block device I/O... Hit Ctrl-C to end.")
    names = flag_names() if by_flags else {}
    maps = HeatMaps(run, unit_of(options))
    for when in run.intervals(maps.interval(options.interval), options.count):
        with undisturbed():
            counted, whole = spent.changes(), total.changes()
        histograms = {name_of(key, options, names): each for key, each in counted.items()}
        maps.add(when, histograms)
        report(run, when, histograms, whole)
    maps.save()


def unit_of(options: Any) -> str:
    """What times are counted in."""
    return "msecs" if options.milliseconds else "usecs"


def name_of(key: int, options: Any, names: Mapping[int, str]) -> str:
    """What a histogram is about."""
    if options.disks:
        return disks.name_of(key)
    if options.flags:
        words = [names[bit] for bit in names if bit > OPERATION and key & bit]
        return "-".join([*words, names.get(key & OPERATION, "Unknown")])
    return ""


def flag_names() -> dict[int, str]:
    """Operation, or bit of a flag -> its name, as the kernel's types have them."""
    value_of = Btf.vmlinux().constant
    operations = {value_of(f"REQ_OP_{name}"): text for name, text in OPERATIONS.items()}
    bits = {value_of(f"__REQ_{name}"): text for name, text in FLAGS.items()}
    flags = {1 << bit: text for bit, text in bits.items() if bit is not None}
    return {**{value: text for value, text in operations.items() if value is not None}, **flags}


def report(run: Run, when: float, histograms: Mapping[str, Log2Histogram], whole: Any) -> None:
    """One interval, as BCC prints it."""
    options, output = run.options, run.output
    unit = unit_of(options)
    section = "disk" if options.disks else "flags" if options.flags else ""
    if output.form == "json":
        rows = [{**({section: name} if section else {}), **each.to_dict()} for name, each in histograms.items()]
        output.object({"time": round(when, 3), "unit": unit, "histograms": rows, "count": whole.count,
                       "total_ns": whole.total})  # fmt: skip
        return
    output.line()
    if options.timestamp:
        output.line(run.clock.now("%H:%M:%S\n", when))
    for name, each in sorted(histograms.items()):
        if section:
            output.line(f"\n{section} = {name}")
        output.histogram(each, unit)
    if options.extension and whole.count:
        spent = whole.total // (1_000_000 if options.milliseconds else 1_000)
        output.line(f"\navg = {spent // whole.count} {unit}, total: {spent} {unit}, count: {whole.count}\n")


def check(options: Any) -> str:
    """What does not go together."""
    return "--disks and --flags exclude each other" if options.disks and options.flags else ""


TOOL = Tool(
    name="biolatency",
    topic="Files and disks",
    summary="histograms of the time that disks take for requests",
    trace=trace,
    check=check,
    probes=(ISSUED, QUEUED, DONE),
    options=(
        option("-T", "--timestamp", action="store_true", help="print the time of each report"),
        option("-Q", "--queued", action="store_true", help="count the time in the queue, too"),
        option("-m", "--milliseconds", action="store_true", help="milliseconds, not microseconds"),
        option("-D", "--disks", action="store_true", help="a histogram for each disk"),
        option("-F", "--flags", action="store_true", help="a histogram for each set of flags"),
        option("-e", "--extension", action="store_true", help="also average, total and count"),
        option("-d", "--disk", metavar="DISK", help="only this disk, as sda"),
        *shared("every count duration json=-j heatmap"),
    ),
    examples=(
        ("", "until Ctrl-C, then a histogram"),
        ("-D -m 1 10", "each disk, in milliseconds, every second, ten times"),
        ("-Q -d sda", "with the time in the queue, of one disk"),
        ("-F -j 5", "by flags, every five seconds, as JSON"),
    ),
    notes="With -Q the time counts from the queue, without from when the device is given the request.",
)
main = TOOL.main
