"""Show what programs send and receive through TLS libraries, before it is encrypted and after it is decrypted."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pybpf import BpfError, NotFoundError, Struct, Tracer, char, s32, u8, u32, u64
from pybpf.lang import comm, ktime_ns, pid, read_user, read_user_bytes, tid, uid
from pybpf.symbols import find_binary
from pybpf.tool import Column, Run, Tool, arguments, clean, option, shared

WRITE, READ, HANDSHAKE = range(3)
TITLES = ("WRITE/SEND", "READ/RECV", "HANDSHAKE")


class Library(NamedTuple):
    """A library, and its functions whose second argument is data; those of ``*_at`` leave its length at a pointer."""

    name: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    writes_at: tuple[str, ...] = ()
    reads_at: tuple[str, ...] = ()
    handshakes: tuple[str, ...] = ()


LIBRARIES = {
    "openssl": Library("libssl.so", ("SSL_write",), ("SSL_read",), ("SSL_write_ex",), ("SSL_read_ex",),
                       ("SSL_do_handshake",)),
    "gnutls": Library("libgnutls.so", ("gnutls_record_send",), ("gnutls_record_recv",)),
    "nss": Library("libnspr4.so", ("PR_Write", "PR_Send"), ("PR_Read", "PR_Recv")),
}  # fmt: skip


class Begun(Struct):
    """A call that has not returned."""

    time: u64
    data: u64
    length: u64  #: where its length will be


class Call(Struct):
    """One that has; with what it sent or received behind."""

    time: u64
    ns: u64
    pid: u32
    tid: u32
    uid: u32
    kind: u32
    size: u64  #: of all the data
    comm: char[16]


def trace(run: Run) -> None:
    """The probes, and a row and the data for each call."""
    options = run.options
    tracer = run.tracer()
    room: int = options.max_buffer_size
    struct: Any = type(Call)
    with_data = struct("Data", (Call,), {"__annotations__": {"data": u8[room]}, "__module__": __name__})
    calls = tracer.events(with_data, pages=1024)
    see = seeing(tracer, calls)
    for name, file in files(options):
        library = LIBRARIES[name]
        see(file, library.writes, WRITE)
        see(file, library.reads, READ)
        if library.writes_at:
            see(file, library.writes_at, WRITE, True)
            see(file, library.reads_at, READ, True)
        if options.handshake and library.handshakes:
            see(file, library.handshakes, HANDSHAKE)
    rows = run.rows(columns(run, room))
    run.start(tracer)
    rows.header()

    def show(event: Any) -> None:
        rows.write(event)
        if run.output.form == "text" and event.kind != HANDSHAKE:
            lost = event.size - min(event.size, room)
            run.output.line("----- DATA -----")
            for line in lines_of(data_of(event, room, options.hexdump), options.hexdump):
                run.output.line(clean(line))
            run.output.line(f"----- END DATA{f' (TRUNCATED, {lost} bytes lost)' if lost else ''} -----")
            run.output.line()

    run.deliver({calls: show})


def seeing(tracer: Tracer, calls: Any) -> Callable[..., None]:
    """``see(file, functions, kind, at_pointer)`` lets functions of a library be traced.

    ``at_pointer``: how much was sent or received is written to where the fourth argument points.
    """
    begun = tracer.hash(u32, Begun)

    def fill(event: Any, start: Any, kind: int) -> None:
        event.time = ktime_ns()
        event.ns = event.time - start.time
        event.pid, event.tid, event.uid, event.comm, event.kind = pid(), tid(), uid(), comm(), kind

    def send(kind: int, size: int, start: Any) -> None:
        with calls.reserve() as event:
            fill(event, start, kind)
            event.size = size
            event.data = read_user_bytes(start.data, size)

    def see(file: str, functions: tuple[str, ...], kind: int, at_pointer: bool = False) -> None:
        @tracer.uprobe(file, functions)
        def begins(handle: u64, data: u64, size: u64, length: u64) -> None:
            begun[tid()] = Begun(time=ktime_ns(), data=data, length=length)

        @tracer.uretprobe(file, functions)
        def ends(ret: s32) -> None:
            start = begun.pop(tid())
            if start is None or ret <= 0:
                return
            if kind == HANDSHAKE:
                with calls.reserve() as event:
                    fill(event, start, kind)
                    event.size = 0
            elif at_pointer:
                send(kind, read_user(start.length, u64), start)
            else:
                send(kind, ret, start)

    return see


def files(options: Any) -> Iterator[tuple[str, str]]:
    """The libraries to trace: (name in the table, file). :raises NotFoundError: there is none."""
    wanted = [name for name in LIBRARIES if not getattr(options, f"no_{name}")]
    found = list(options.extra_lib or ())
    lacking = ""
    for name in wanted:
        try:
            find_binary(LIBRARIES[name].name, options.pid)
            found.append((name, LIBRARIES[name].name))
        except BpfError as error:
            lacking = str(error)
    if not found:
        raise NotFoundError(f"none of {', '.join(wanted) or 'no libraries'} is here; --extra-lib names one: {lacking}")
    yield from found


def data_of(event: Any, room: int, as_hex: bool) -> str:
    """What was sent or received, as far as it was copied."""
    data = bytes(event.data[: min(event.size, room)])
    return data.hex() if as_hex else data.decode("utf-8", "surrogateescape")


def lines_of(data: str, as_hex: bool) -> list[str]:
    """The data as they are printed."""
    return [data[at : at + 32] for at in range(0, len(data), 32)] if as_hex else data.split("\n")


def columns(run: Run, room: int) -> list[Column]:
    """Those of BCC's sslsniff."""
    options = run.options

    def data(event: Any) -> str | None:
        return None if event.kind == HANDSHAKE else data_of(event, room, options.hexdump)

    return [
        run.clock.wall(shown=False),
        Column("FUNC", "%-12s ", "function", lambda event: TITLES[event.kind]),
        run.clock.offset("%-18.9f ", first=True),
        Column("COMM", "%-16s ", "comm", lambda event: event.comm),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("LEN", "%-7d ", "len", lambda event: event.size),
        Column("UID", "%-7d ", "uid", lambda event: event.uid, options.extra),
        Column("TID", "%-7d ", "tid", lambda event: event.tid, options.extra),
        Column("LAT(ms)", "%-7.3f ", "latency_ms", lambda event: event.ns / 1e6, options.latency),
        Column("DATA", "%s", "data", data, False),
    ]


def extra_library(text: str) -> tuple[str, str]:
    """For ``--extra-lib``: ``openssl:/path``."""
    name, _, path = text.partition(":")
    if name not in LIBRARIES or not path:
        raise arguments.wrong(text, "a library: write TYPE:PATH, TYPE being openssl, gnutls or nss", LIBRARIES)
    try:
        find_binary(path)
    except BpfError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name, path


def buffer_size(text: str) -> int:
    """For ``--max-buffer-size``."""
    return arguments.whole(text, 1, 1 << 20)


TOOL = Tool(
    name="sslsniff",
    topic="Network",
    summary="show what is sent and received through TLS libraries, in clear",
    trace=trace,
    probes=tuple(
        f"uprobes and uretprobes of {', '.join((*each.writes, *each.reads, *each.writes_at, *each.reads_at))} "
        f"in {each.name}" for each in LIBRARIES.values()
    ),
    options=(
        option("-x", "--extra", action="store_true", help="print user and thread"),
        option("-o", "--no-openssl", action="store_true", help="not OpenSSL"),
        option("-g", "--no-gnutls", action="store_true", help="not GnuTLS"),
        option("-n", "--no-nss", action="store_true", help="not NSS"),
        option("--hexdump", action="store_true", help="data as hexadecimal digits"),
        option("--max-buffer-size", type=buffer_size, default=8192, metavar="N", help="bytes of data that are shown"),
        option("-l", "--latency", action="store_true", help="print how long the functions took"),
        option("--handshake", action="store_true", help="also OpenSSL's handshakes that succeed"),
        option("--extra-lib", type=extra_library, action="append", metavar="TYPE:PATH",
               help="also a library, or a program with one in it: openssl:/usr/bin/node"),
        *shared("pid follow tid uid comm=-c groups duration command exec rows"),
    ),
    examples=(
        ("-p 181", "what process 181 sends and receives"),
        ("-c curl --hexdump", "what programs named curl do, in hexadecimal"),
        ("-l --handshake -x", "also handshakes, times, users and threads"),
    ),
    notes="""\
Libraries that are not here are left out. PR_Write and the like of NSS are also used for what is not encrypted.""",
)  # fmt: skip
main = TOOL.main
