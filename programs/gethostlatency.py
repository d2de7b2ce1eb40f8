"""Trace lookups of host names by the C library, and how long they take."""

from __future__ import annotations

from pybpf import Struct, char, u32, u64
from pybpf.lang import comm, ktime_ns, pid, read_user_str, tid
from pybpf.tool import Column, Moment, Run, Tool, option, shared

#: functions that take the name first
LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname2")


class Begun(Struct):
    """A lookup that has not ended."""

    time: u64
    name: u64
    depth: u32  #: how many of the functions the first one has called, with the same name: in musl they do


class Lookup(Struct):
    """One that has."""

    time: u64
    ns: u64
    pid: u32
    tid: u32
    comm: char[16]
    host: char[256]


def trace(run: Run) -> None:
    """The probes, and a row for each lookup."""
    tracer = run.tracer()
    lookups = tracer.events(Lookup)
    begun = tracer.hash(u32, Begun)
    library: str = run.options.libc

    @tracer.uprobe(library, LOOKUPS)
    def begins(name: u64) -> None:
        outer = begun.get(tid())
        if outer is not None and outer.name == name:
            outer.depth += 1
        else:
            begun[tid()] = Begun(time=ktime_ns(), name=name)

    @tracer.uretprobe(library, LOOKUPS)
    def ends() -> None:
        start = begun.get(tid())
        if start is None:
            return
        if start.depth:
            start.depth -= 1
            return
        now = ktime_ns()
        # The name is read here: the library has brought it into memory.
        lookups.emit(time=now, ns=now - start.time, pid=pid(), tid=tid(), comm=comm(), host=read_user_str(start.name))
        del begun[tid()]

    rows = run.rows(columns(run), moment=Moment(lambda event: str(event.host), lambda event: event.ns))
    run.start(tracer)
    rows.header()
    run.deliver({lookups: rows.write})


def columns(run: Run) -> list[Column]:
    """Those of BCC's gethostlatency."""
    return [
        run.clock.wall("%-9s "),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("TID", "%-7d ", "tid", lambda event: event.tid, False),
        Column("COMM", "%-16s ", "comm", lambda event: event.comm),
        Column("LATms", "%10.2f ", "latency_ms", lambda event: event.ns / 1e6),
        Column("HOST", "%s", "host", lambda event: event.host),
    ]


TOOL = Tool(
    name="gethostlatency",
    topic="Network",
    summary="trace lookups of host names, and how long they take",
    trace=trace,
    probes=(f"uprobes and uretprobes of {', '.join(LOOKUPS)} of the C library",),
    options=(
        option("--libc", metavar="FILE", default="libc.so.6",
               help="the C library: another one, as that of a container"),
        *shared("who ends rows perfetto"),
    ),
    examples=(
        ("", "all lookups"),
        ("-p 181", "those of process 181, by the C library that it has"),
        ("--libc /proc/181/root/lib/ld-musl-x86_64.so.1 --json", "those with the C library of a container, as JSON"),
    ),
    notes="""\
Programs that bring their own resolver, as those of Go may, are not seen.""",
)  # fmt: skip
main = TOOL.main
