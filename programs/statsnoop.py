"""Trace calls that ask for the state of files: stat(2) and its kin."""

from __future__ import annotations

from typing import Any

from pybpf import Struct, char, s32, u8, u32, u64
from pybpf.lang import comm, ktime_ns, pid, read_user_str, tid
from pybpf.tool import Column, Glob, Moment, Run, SyscallProbes, Tool, option, shared

#: with the path as the first parameter, and as the second
BY_PATH, BELOW = ("stat", "lstat", "statfs"), ("newfstatat", "statx")
CALLS = SyscallProbes(*BY_PATH, *BELOW, what="files being looked at")
#: bytes of most paths with their NUL, and of the longest ones
PATH, LONG_PATH = 512, 4096
#: 4 KiB pages for events with long paths
LONG_PAGES = 128
PathText: Any = char[PATH]


class Begun(Struct):
    """A call that has not returned."""

    path: u64
    call: u8


class Stat(Struct):
    """One that has."""

    time: u64
    pid: u32
    ret: s32
    call: u32  #: which of :data:`CALLS`
    comm: char[16]
    path: char[PATH]


class LongStat(Stat):
    """With a path that has no room there."""

    path: char[LONG_PATH]


def trace(run: Run) -> None:
    """The probes, and a row for each call."""
    options = run.options
    tracer = run.tracer()
    stats, longs = tracer.events(Stat, pages=512), tracer.events(LongStat, pages=LONG_PAGES)
    begun = tracer.hash(u32, Begun)
    only_failed: bool = options.failed
    paths = Glob(options.path, PATH)

    def watch(call: str, number: int) -> None:
        def begins(path: u64) -> None:
            begun[tid()] = Begun(path=path, call=number)

        def begins_below(directory: s32, path: u64) -> None:
            begun[tid()] = Begun(path=path, call=number)

        CALLS.enter(tracer, call)(begins if call in BY_PATH else begins_below)

    for number, call in enumerate(CALLS.calls):
        watch(call, number)

    @CALLS.leave(tracer)
    def ends(ret: s32) -> None:
        start = begun.pop(tid())
        if start is None or (only_failed and ret >= 0):
            return
        # The text is read here: the call itself has brought it into memory. What is not wanted takes no room.
        text: PathText = read_user_str(start.path)
        if len(text) == PATH - 1:
            if paths.may_begin(text):
                with longs.reserve() as event:
                    event.path = read_user_str(start.path)
                    describe(event, start, ret)
        elif paths.may(text):
            with stats.reserve() as event:
                event.path = text
                describe(event, start, ret)

    def describe(event: Any, start: Any, ret: int) -> None:
        event.time, event.pid, event.ret, event.call, event.comm = ktime_ns(), pid(), ret, start.call, comm()

    rows = run.rows(columns(run), lambda event: "red" if event.ret < 0 else "",
                    Moment(lambda event: str(event.path)))
    run.start(tracer)
    rows.header()

    def show(event: Any) -> None:
        if paths.matches(event.path):
            rows.write(event)

    run.deliver({stats: show, longs: show})


def columns(run: Run) -> list[Column]:
    """Those of BCC's statsnoop."""
    options = run.options

    def call(event: Any) -> Any:
        return CALLS.calls[event.call]

    return [
        run.clock.wall(shown=False),
        run.clock.offset("%-14.9f", shown=options.timestamp, first=True),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("COMM", "%-16s ", "comm", lambda event: event.comm),
        Column("FD", "%4d ", "fd", lambda event: max(event.ret, -1)),
        Column("ERR", "%3d ", "errno", lambda event: max(-event.ret, 0)),
        Column("SYSCALL", "%-12s ", "syscall", call, options.sysname),
        Column("PATH", "%s", "path", lambda event: event.path),
    ]


TOOL = Tool(
    name="statsnoop",
    topic="Files and disks",
    summary="trace files being looked at by stat(2) and its kin",
    trace=trace,
    probes=(CALLS,),
    options=(
        option("-t", "--timestamp", action="store_true", help="print the time, in seconds since the first call"),
        option("-s", "--sysname", action="store_true", help="print which call it is"),
        option("-x", "--failed", action="store_true", help="only calls that fail"),
        option("--path", metavar="PATTERN", help="only paths that match, as '/etc/*.conf'"),
        *shared("who ends rows perfetto"),
    ),
    examples=(
        ("-x", "files that are looked for and missing"),
        ("-s -p 181", "what process 181 asks, and by which call"),
        ("--path '*.so*' --json", "libraries, as JSON"),
    ),
)
main = TOOL.main
