"""Count calls of the virtual file system, at intervals."""

from __future__ import annotations

import stat
import time
from typing import Any, NamedTuple

from pybpf import s32, u32, u64
from pybpf.lang import tid
from pybpf.tool import Column, FirstOf, Run, SyscallProbes, Tool, shared, undisturbed

#: column -> function of the kernel
FUNCTIONS = {
    name: FirstOf(f"fentry:{function}", f"kprobe:{function}", what=f"calls of {function}()", optional=True)
    for name, function in {
        "READ": "vfs_read", "WRITE": "vfs_write", "FSYNC": "vfs_fsync_range", "OPEN": "vfs_open",
        "CREATE": "vfs_create", "UNLINK": "vfs_unlink", "MKDIR": "vfs_mkdir", "RMDIR": "vfs_rmdir",
    }.items()
}  # fmt: skip
NAMES = list(FUNCTIONS)
#: column -> system calls that come to the function, for kernels that let no function be traced
CALLS = {
    "READ": SyscallProbes("read", "pread64"),
    "WRITE": SyscallProbes("write", "pwrite64"),
    "FSYNC": SyscallProbes("fsync", "fdatasync"),
    "OPEN": SyscallProbes("open", "openat", "openat2", "creat"),
    "MKDIR": SyscallProbes("mkdir", "mkdirat"),
}
#: calls that come to one or another function
OTHERS = SyscallProbes("unlink", "unlinkat", "rmdir", "mknod", "mknodat")
CREATE, UNLINK, RMDIR = (NAMES.index(name) for name in ("CREATE", "UNLINK", "RMDIR"))
#: of unlinkat(2): a directory is to be removed
AT_REMOVEDIR = 0x200
#: of a mode: what kind of file
FORMAT, REGULAR = stat.S_IFMT(0o177777), stat.S_IFREG
INSTEAD = (
    "this kernel lets no function be traced; counting system calls that succeed: without readv(2), writev(2), "
    "sendfile(2), io_uring, and what the kernel does by itself"
)


def trace(run: Run) -> None:
    """The probes, and a row per interval."""
    options = run.options
    tracer = run.tracer()
    counts = tracer.count(u32)
    if any(function.find() for function in FUNCTIONS.values()):
        for number, function in enumerate(FUNCTIONS.values()):
            count_function(tracer, counts, number, function)
    else:
        run.warn(INSTEAD)
        for name, calls in CALLS.items():
            count_calls(tracer, counts, NAMES.index(name), calls)
        count_others(tracer, counts)
    run.start(tracer)
    rows = run.rows(columns(run))
    rows.header()
    since = time.time()
    for when in run.intervals(options.interval or 1, options.count):
        with undisturbed():
            found = counts.changes()
        rows.write(Report(when, when - since, [found.get(number, 0) for number in range(len(NAMES))]))
        since = when


def count_function(tracer: Any, counts: Any, number: int, function: FirstOf) -> None:
    """Calls of a function of the kernel."""

    @function.on(tracer)
    def called() -> None:
        counts[number].add(1)


def count_calls(tracer: Any, counts: Any, number: int, calls: SyscallProbes) -> None:
    """System calls that succeed."""

    @calls.leave(tracer)
    def ends(ret: s32) -> None:
        if ret >= 0:
            counts[number].add(1)


def count_others(tracer: Any, counts: Any) -> None:
    """Those where the arguments say what they count as."""
    begun = tracer.hash(u32, u32)

    @OTHERS.enter(tracer, "unlink")
    def unlink_begins() -> None:
        begun[tid()] = UNLINK

    @OTHERS.enter(tracer, "rmdir")
    def rmdir_begins() -> None:
        begun[tid()] = RMDIR

    @OTHERS.enter(tracer, "unlinkat")
    def unlinkat_begins(dfd: s32, pathname: u64, flag: u32) -> None:
        begun[tid()] = RMDIR if flag & AT_REMOVEDIR else UNLINK

    @OTHERS.enter(tracer, "mknod")
    def mknod_begins(filename: u64, mode: u32) -> None:
        makes(mode)

    @OTHERS.enter(tracer, "mknodat")
    def mknodat_begins(dfd: s32, filename: u64, mode: u32) -> None:
        makes(mode)

    def makes(mode: int) -> None:
        if not mode & FORMAT or mode & FORMAT == REGULAR:
            begun[tid()] = CREATE

    @OTHERS.leave(tracer)
    def ends(ret: s32) -> None:
        number = begun.pop(tid())
        if number is not None and ret >= 0:
            counts[number].add(1)


class Report(NamedTuple):
    """An interval."""

    when: float
    seconds: float  #: how long it was; the last one may be short
    counts: list[int]


def columns(run: Run) -> list[Column]:
    """Those of BCC's vfsstat: calls per second; in JSON and CSV calls."""

    def column(number: int, name: str) -> Column:
        return Column(f"{name}/s", " %8d", f"{name.lower()}s", lambda row: row.counts[number], True,
                      lambda row: row.counts[number] / max(row.seconds, 1e-3))  # fmt: skip

    return [
        Column("TIME", "%-10s", "time", lambda row: round(row.when, 3), True,
               lambda row: run.clock.now("%H:%M:%S:", row.when)),
        Column("S", "%s", "seconds", lambda row: round(row.seconds, 6), False),
        *(column(number, name) for number, name in enumerate(NAMES)),
    ]  # fmt: skip


TOOL = Tool(
    name="vfsstat",
    topic="Files and disks",
    summary="count calls of the virtual file system",
    trace=trace,
    probes=(*FUNCTIONS.values(), "or, where there is none of these:", *CALLS.values(), OTHERS),
    options=shared("who every count duration command exec rows"),
    examples=(
        ("", "every second, until Ctrl-C"),
        ("5 12", "every five seconds, for a minute"),
        ("-p 181 --json", "those of process 181, as JSON, with whole numbers of calls"),
    ),
    notes="""\
CREATE is what makes files without opening them, mknod(2): open(2) does not come to vfs_create(). Where the kernel lets
no function be traced, it counts system calls that succeed, and says what that leaves out. Calls
of a function that the compiler has put into its caller, as fdatasync(2) may have vfs_fsync_range(), are not seen.""",
)
main = TOOL.main
