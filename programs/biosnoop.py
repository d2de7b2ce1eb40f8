"""Trace requests to block devices: who made each, what it was, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pybpf import Struct, char, u32, u64
from pybpf.lang import comm, kernel_ptr, ktime_ns, pid
from pybpf.tool import Column, FirstOf, Moment, Run, Tool, disks, option, shared

STARTED = FirstOf(
    "tp_btf:block_io_start", "tracepoint:block:block_io_start", "kprobe:__blk_account_io_start",
    "kprobe:blk_account_io_start", "tp_btf:block_rq_insert", "tracepoint:block:block_rq_insert",
    what="requests that are made", optional=True,
)  # fmt: skip
ISSUED = FirstOf(
    "tp_btf:block_rq_issue", "tracepoint:block:block_rq_issue", "kprobe:blk_mq_start_request",
    what="requests that a device is given",
)  # fmt: skip
DONE = FirstOf(
    "tp_btf:block_io_done", "tracepoint:block:block_io_done", "kprobe:__blk_account_io_done",
    "kprobe:blk_account_io_done", "tp_btf:block_rq_complete", "tracepoint:block:block_rq_complete",
    what="requests that are done",
)  # fmt: skip

MAX_ENTRIES = 10240
SECTOR = 512
#: the sector of what is for no place of the disk, as a flush
NOWHERE = 2**64 - 1
#: what all of these places have, under one name or another
RequestPtr: Any = kernel_ptr("struct request")
#: the operation of a request, in the low bits of its flags, and the letters by which the kernel's records name it
OPERATION = 0xFF
OPERATIONS = {0: "R", 1: "W", 2: "F", 3: "D", 5: "D"}
LETTERS = {ord(letter): letter for letter in "RWFD"}
#: a record that begins so may go on with another one: the disk is to write out its cache before
FLUSH = ord("F")


class Request(Struct):
    """A request: what its maker, the queue and the device have said of it."""

    made: u64  #: times, by ktime_ns()
    issued: u64
    done: u64
    sector: u64
    bytes: u32
    operation: u32  #: its number; of a record: the letter
    disk: u32
    pid: u32
    comm: char[16]


def trace(run: Run) -> None:
    """The probes, and a row for each request."""
    options = run.options
    tracer = run.tracer()
    by_request = not any(each.choose().startswith("tracepoint:") for each in (ISSUED, DONE))
    begun = tracer.hash(u64 if by_request else (u32, u64), Request, max_entries=MAX_ENTRIES)
    requests = tracer.events(Request)
    disk: int | None = disks.number_of(options.disk) if options.disk else None
    # without filters also those whose makers were not seen
    only_known: bool = run.pid is not None or any((options.tid, options.uid is not None, options.comm, options.cgroup,
                                                   options.container))  # fmt: skip

    def is_made(key: Any) -> None:
        begun[key] = Request(made=ktime_ns(), pid=pid(), comm=comm())

    def is_issued(key: Any, number: int, sector: int, size: int, operation: int) -> None:
        if disk is not None and number != disk:
            return
        request = begun.get(key)
        if request is None:
            if not only_known:
                begun[key] = Request(
                    issued=ktime_ns(), disk=number, sector=sector, bytes=size, operation=operation
                )
            return
        request.disk, request.sector, request.bytes, request.operation = number, sector, size, operation
        request.issued = ktime_ns()

    def is_done(key: Any) -> None:
        request = begun.pop(key)
        if request is not None and request.issued:
            request.done = ktime_ns()
            requests.emit(request)

    # by the address of the request
    def request_made(rq: RequestPtr) -> None:
        is_made(u64(rq))

    def request_issued(rq: RequestPtr) -> None:
        is_issued(u64(rq), disks.of_request(rq), rq.__sector, rq.__data_len, rq.cmd_flags & OPERATION)

    def request_done(rq: RequestPtr) -> None:
        is_done(u64(rq))

    # by what tracepoints tell of it
    def record_made(args: Any) -> None:
        is_made((args.dev, args.sector))

    def record_issued(args: Any) -> None:
        letter = args.rwbs[0]
        if letter == FLUSH and args.rwbs[1]:
            letter = args.rwbs[1]
        is_issued((args.dev, args.sector), args.dev, args.sector, args.bytes, letter)

    def record_done(args: Any) -> None:
        is_done((args.dev, args.sector))

    kinds = ("tp_btf", "kprobe") if by_request else ("tracepoint",)
    STARTED.on(tracer, *kinds)(request_made if by_request else record_made)
    # whoever happens to run when a device begins or ends says nothing of the request
    ISSUED.on(tracer, *kinds, everyone=True)(request_issued if by_request else record_issued)
    DONE.on(tracer, *kinds, everyone=True)(request_done if by_request else record_done)

    operations = OPERATIONS if by_request else LETTERS
    rows = run.rows(columns(run, operations), moment=Moment(
        lambda event: f"{disks.name_of(event.disk)} {operations.get(event.operation, 'N')} {event.bytes}",
        lambda event: event.done - event.issued, lambda event: event.done,
    ))  # fmt: skip
    run.start(tracer)
    rows.header()
    run.deliver({requests: rows.write})


def columns(run: Run, operations: Mapping[int, str]) -> list[Column]:
    """Those of BCC's biosnoop."""
    options = run.options
    ends: dict[int, int] = {}

    def pattern(event: Any) -> str:
        """Whether a request begins where the one before, of the same disk, has ended."""
        if event.sector == NOWHERE:
            return "-"
        before = ends.get(event.disk)
        ends[event.disk] = event.sector + event.bytes // SECTOR
        return "?" if before is None else "S" if before == event.sector else "R"

    def queued(event: Any) -> int | None:
        return event.issued - event.made if event.made else None

    def in_ms(ns: int | None) -> str:
        return "-" if ns is None else f"{ns / 1e6:.2f}"

    return [
        run.clock.wall(shown=False, of=lambda event: event.done),
        run.clock.offset("%-11.6f ", first=True, of=lambda event: event.done),
        Column("COMM", "%-14.14s ", "comm", lambda event: event.comm or "?"),
        Column("PID", "%-7s ", "pid", lambda event: event.pid if event.made else None, True,
               lambda event: event.pid if event.made else "?"),
        Column("DISK", "%-9s ", "disk", lambda event: disks.name_of(event.disk)),
        Column("T", "%-1s ", "operation", lambda event: operations.get(event.operation, "N")),
        Column("SECTOR", "%-10s ", "sector", lambda event: event.sector if event.sector != NOWHERE else None, True,
               lambda event: event.sector if event.sector != NOWHERE else "-"),
        Column("BYTES", "%-7d ", "bytes", lambda event: event.bytes),
        Column("P", "%-1s ", "pattern", pattern, options.pattern),
        Column("QUE(ms)", "%7s ", "queued_ns", queued, options.queue, lambda event: in_ms(queued(event))),
        Column("LAT(ms)", "%7s", "latency_ns", lambda event: event.done - event.issued, True,
               lambda event: in_ms(event.done - event.issued)),
    ]  # fmt: skip


TOOL = Tool(
    name="biosnoop",
    topic="Files and disks",
    summary="trace requests to disks, and how long each takes",
    trace=trace,
    probes=(STARTED, ISSUED, DONE),
    options=(
        option("-Q", "--queue", action="store_true", help="print the time in the queue, too"),
        option("-d", "--disk", metavar="DISK", help="only this disk, as sda"),
        option("-P", "--pattern", action="store_true",
               help="print S where a request begins at the end of the one before, R where it does not"),
        *shared("who ends rows perfetto"),
    ),
    examples=(
        ("", "every request of every disk"),
        ("-Q -d sda", "of one disk, with the time in the queue"),
        ("-p 181", "those that process 181 makes itself"),
    ),
    notes="""\
COMM and PID are of who made the request: for what is written later, a thread of the kernel. T is R (read), W (write), F
(flush), D (discard) or N (another). With a filter, requests whose maker was not seen are left out.""",
)
main = TOOL.main
