"""Trace files being opened: who opens what, and what comes of it."""

from __future__ import annotations

import os
from typing import Any

from pybpf import Struct, Tracer, char, s32, u32, u64
from pybpf.lang import comm, current_task, ktime_ns, path, pid, read_user, read_user_str, tid, uid
from pybpf.tool import Column, Glob, Moment, Run, SyscallProbes, Tool, arguments, option, shared

OPENS = SyscallProbes("open", "openat", "openat2", what="files being opened")

AT_FDCWD = -100
#: include/uapi/linux/openat2.h
HOW_MODE = 8
#: with these flags the mode means something
CREATES = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY
#: bytes of most paths with their NUL, of the longest ones, and of the directories that relative ones start from
PATH, LONG_PATH, DIRECTORY = 512, 4096, 1024
#: 4 KiB pages for events with long paths
LONG_PAGES = 128
PathText: Any = char[PATH]
Name: Any = char[16]


class Begun(Struct):
    """An open that has not returned."""

    filename: u64
    dfd: s32
    mode: u32
    flags: u64


class Open(Struct):
    """One that has."""

    time: u64
    flags: u64
    pid: u32
    tid: u32
    uid: u32
    mode: u32
    ret: s32
    relative: u32  #: ``path`` is relative to ``directory``
    comm: char[16]
    path: char[PATH]


class OpenIn(Open):
    """With the directory that a relative path starts from."""

    directory: char[DIRECTORY]


class LongOpen(Open):
    """With a path that has no room there."""

    path: char[LONG_PATH]


class LongOpenIn(LongOpen):
    """Likewise, with the directory."""

    directory: char[LONG_PATH]


def trace(run: Run) -> None:
    """The probes; what they find is shown."""
    options = run.options
    tracer = run.tracer()
    full_path: bool = options.full_path
    opens = tracer.events(OpenIn if full_path else Open, pages=options.buffer_pages)
    longs = tracer.events(LongOpenIn if full_path else LongOpen, pages=LONG_PAGES)
    begun = tracer.hash(u32, Begun)
    name: str = options.name or ""
    wanted_flags = flag_bits(options.flag_filter)
    only_failed: bool = options.failed
    paths = Glob(options.path, PATH)

    @OPENS.enter(tracer, "open")
    def open_begins(filename: u64, flags: u32, mode: u32) -> None:
        begin(AT_FDCWD, filename, flags, mode)

    @OPENS.enter(tracer, "openat")
    def openat_begins(dfd: s32, filename: u64, flags: u32, mode: u32) -> None:
        begin(dfd, filename, flags, mode)

    @OPENS.enter(tracer, "openat2")
    def openat2_begins(dfd: s32, filename: u64, how: u64) -> None:
        begin(dfd, filename, read_user(how, u64), read_user(how + HOW_MODE, u32))

    def begin(dfd: int, filename: int, flags: int, mode: int) -> None:
        if not wanted_flags or flags & wanted_flags:
            begun[tid()] = Begun(filename=filename, dfd=dfd, flags=flags, mode=mode)

    @OPENS.leave(tracer)
    def ends(ret: s32) -> None:
        start = begun.pop(tid())
        if start is None or (only_failed and ret >= 0):
            return
        # The text is read here: the call itself has brought it into memory. What is not wanted takes no room.
        if name:
            who: Name = comm()
            if name not in who:
                return
        text: PathText = read_user_str(start.filename)
        if len(text) == PATH - 1:
            if paths.may_begin(text):
                with longs.reserve() as event:
                    event.path = read_user_str(start.filename)
                    describe(event, start, ret)
        elif paths.may(text):
            with opens.reserve() as event:
                event.path = text
                describe(event, start, ret)

    def describe(event: Any, start: Any, ret: int) -> None:
        event.comm = comm()
        event.time, event.pid, event.tid, event.uid = ktime_ns(), pid(), tid(), uid()
        event.flags, event.mode, event.ret = start.flags, start.mode, ret
        if full_path and not event.path.startswith("/"):
            event.relative = 1
            if start.dfd == AT_FDCWD:
                event.directory = path(current_task().fs.pwd)
            else:
                event.directory = path(current_task().files.fdt.fd[start.dfd].f_path)

    show(run, tracer, paths, opens, longs)


def show(run: Run, tracer: Tracer, paths: Glob, *streams: Any) -> None:
    """A row for each open whose path is wanted."""
    rows = run.rows(columns(run), lambda event: "red" if event.ret < 0 else "",
                    Moment(lambda event: str(event.path)))
    run.start(tracer)
    rows.header()

    def write(event: Any) -> None:
        if paths.matches(event.path):
            rows.write(event)

    run.deliver(dict.fromkeys(streams, write))


def columns(run: Run) -> list[Column]:
    """Those of BCC's opensnoop."""
    options = run.options

    def full(event: Any) -> str:
        return f"{event.directory.rstrip('/')}/{event.path}" if options.full_path and event.relative else event.path

    def mode(event: Any) -> Any:
        return event.mode if event.flags & CREATES else None

    return [
        run.clock.wall(shown=False),
        run.clock.offset("%-14.9f", shown=options.timestamp, first=True),
        Column("UID", "%-6d", "uid", lambda event: event.uid, options.print_uid),
        Column("PID", "%-6d ", "pid", lambda event: event.pid, options.tid is None),
        Column("TID", "%-6d ", "tid", lambda event: event.tid, options.tid is not None),
        Column("COMM", "%-16s ", "comm", lambda event: event.comm),
        Column("FD", "%4d ", "fd", lambda event: max(event.ret, -1)),
        Column("ERR", "%3d ", "errno", lambda event: max(-event.ret, 0)),
        Column("FLAGS", "%-8s ", "flags", lambda event: event.flags, options.extended_fields,
               lambda event: f"{event.flags:08o}"),
        Column("MODE", "%-4s ", "mode", mode, options.extended_fields,
               lambda event: "n/a" if mode(event) is None else f"{event.mode:04o}"),
        Column("PATH", "%s", "path", full),
    ]  # fmt: skip


def flag(text: str) -> int:
    """A flag of open(2), by its name."""
    number = getattr(os, text, None) if text.startswith("O_") else None
    if not isinstance(number, int):
        raise arguments.wrong(text, "a flag of open(2)", (each for each in dir(os) if each.startswith("O_")))
    if number == 0:
        raise arguments.wrong(text, "a flag that can be looked for: it is 0")
    return number


def flag_bits(flags: list[int] | None) -> int:
    """Several flags together."""
    bits = 0
    for each in flags or ():
        bits |= each
    return bits


TOOL = Tool(
    name="opensnoop",
    topic="Files and disks",
    summary="trace files being opened",
    trace=trace,
    probes=(OPENS,),
    options=(
        option("-T", "--timestamp", action="store_true", help="print the time, in seconds since the first open"),
        option("-U", "--print-uid", action="store_true", help="print the user"),
        option("-x", "--failed", action="store_true", help="only opens that fail"),
        option("-n", "--name",
               help="only processes whose name has this in it; for names of files: --path '*NAME*'"),
        option("-e", "--extended_fields", action="store_true", help="print flags and mode, in octal"),
        option("-f", "--flag_filter", type=flag, action="append", metavar="O_FLAG",
               help="only opens with this flag, as O_WRONLY; give it again for one of several"),
        option("-F", "--full-path", action="store_true", help="make relative paths absolute"),
        option("--path", metavar="PATTERN", help="only paths that match, as '/etc/*.conf'"),
        option("-b", "--buffer-pages", type=arguments.pages, default=512, metavar="N",
               help="4 KiB pages of the buffer for events"),
        *shared("who ends rows perfetto"),
    ),
    examples=(
        ("-x", "only opens that fail, to find files that are missing"),
        ("-p 181", "what process 181 opens"),
        ("-e -f O_WRONLY -f O_RDWR", "files opened for writing, with flags"),
        ("--path '/etc/*' -d 10 --json", "what is read of /etc for ten seconds, as JSON"),
    ),
)  # fmt: skip
main = TOOL.main
