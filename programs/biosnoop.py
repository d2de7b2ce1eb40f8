"""Trace requests to block devices: who made each, what it was, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pybpf import Struct, Tracer, char, u32, u64
from pybpf.lang import comm, ktime_ns, pid
from pybpf.tool import Column, FirstOf, Moment, Run, Tool, disks, option, shared

DONE = FirstOf(
    "tp_btf:block_io_done", "tracepoint:block:block_io_done", "kprobe:__blk_account_io_done",
    "kprobe:blk_account_io_done", "tp_btf:block_rq_complete", "tracepoint:block:block_rq_complete",
    what="requests that are done",
)  # fmt: skip

MAX_ENTRIES = 10240
SECTOR = 512
#: the sector of what is for no place of the disk, as a flush
NOWHERE = 2**64 - 1
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
    """A row for each request."""
    options = run.options
    tracer = run.tracer()
    requests = tracer.events(Request)
    disk = disks.number_of(options.disk) if options.disk else None
    by_request = not any(each.choose().startswith("tracepoint:") for each in (disks.ISSUED, DONE))
    known = Known(tracer, by_request, requests, disk, run.chooses_tasks)
    (by_address if by_request else by_record)(tracer, known)

    operations = OPERATIONS if by_request else LETTERS
    rows = run.rows(columns(run, operations), moment=Moment(
        lambda event: f"{disks.name_of(event.disk)} {operations.get(event.operation, 'N')} {event.bytes}",
        lambda event: event.done - event.issued, lambda event: event.done,
    ))  # fmt: skip
    run.start(tracer)
    rows.header()
    run.deliver({requests: rows.write})


class Known:
    """What happens to requests, by a key that tells them apart; functions for probes.

    :param only_made: requests whose makers were not seen are left out: with filters.
    """

    def __init__(self, tracer: Tracer, by_request: bool, requests: Any, disk: int | None, only_made: bool) -> None:
        begun = tracer.hash(u64 if by_request else (u32, u64), Request, max_entries=MAX_ENTRIES)

        def made(key: Any) -> None:
            begun[key] = Request(made=ktime_ns(), pid=pid(), comm=comm())

        def given(key: Any) -> None:
            if key not in begun:
                made(key)

        def issued(key: Any, number: int, sector: int, size: int, operation: int) -> None:
            if disk is not None and number != disk:
                return
            request = begun.get(key)
            if request is None:
                if not only_made:
                    begun[key] = Request(
                        issued=ktime_ns(), disk=number, sector=sector, bytes=size, operation=operation
                    )
                return
            request.disk, request.sector, request.bytes, request.operation = number, sector, size, operation
            request.issued = ktime_ns()

        def done(key: Any) -> None:
            request = begun.pop(key)
            if request is not None and request.issued:
                request.done = ktime_ns()
                requests.emit(request)

        self.made, self.given, self.issued, self.done = made, given, issued, done


# Whoever happens to run when a device begins or ends says nothing of the request.


def by_address(tracer: Tracer, known: Known) -> None:
    """Probes that are given the request, whose address is its key."""
    is_made, is_given, is_issued, is_done = known.made, known.given, known.issued, known.done

    @disks.MADE.on(tracer, "tp_btf", "kprobe")
    def request_made(rq: disks.Request) -> None:
        is_made(u64(rq))

    if not disks.sees_all_made():

        @disks.ISSUED.on(tracer, "tp_btf", "kprobe")
        def request_given(rq: disks.Request) -> None:
            is_given(u64(rq))

    @disks.ISSUED.on(tracer, "tp_btf", "kprobe", everyone=True)
    def request_issued(rq: disks.Request) -> None:
        is_issued(u64(rq), disks.of_request(rq), rq.__sector, rq.__data_len, rq.cmd_flags & OPERATION)

    @DONE.on(tracer, "tp_btf", "kprobe", everyone=True)
    def request_done(rq: disks.Request) -> None:
        is_done(u64(rq))


def by_record(tracer: Tracer, known: Known) -> None:
    """Tracepoints, which tell where on which disk it is."""
    is_made, is_given, is_issued, is_done = known.made, known.given, known.issued, known.done

    @disks.MADE.on(tracer, "tracepoint")
    def record_made(args: Any) -> None:
        is_made((args.dev, args.sector))

    if not disks.sees_all_made():

        @disks.ISSUED.on(tracer, "tracepoint")
        def record_given(args: Any) -> None:
            is_given((args.dev, args.sector))

    @disks.ISSUED.on(tracer, "tracepoint", everyone=True)
    def record_issued(args: Any) -> None:
        letter = args.rwbs[0]
        if letter == FLUSH and args.rwbs[1]:
            letter = args.rwbs[1]
        is_issued((args.dev, args.sector), args.dev, args.sector, args.bytes, letter)

    @DONE.on(tracer, "tracepoint", everyone=True)
    def record_done(args: Any) -> None:
        is_done((args.dev, args.sector))


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
    probes=(disks.MADE, disks.ISSUED, DONE),
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
