"""The command lines that are compared, what is done meanwhile, and which part of the output has to be the same."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from types import MappingProxyType

from tests.programs.workload import Caller

__all__ = ["CASES", "TOOLS", "Case", "rows_of", "work"]

TOOLS = ("execsnoop", "opensnoop", "biolatency", "trace", "funccount", "argdist")
DISK = "/dev/nvme0n1"
BLOCK = 4096
#: how lines begin that BCC prints on its way out, where it cannot detach, and all that follows
DEBRIS = ("Traceback ", "Exception ignored", "open(/sys/kernel/tracing")
READS = 200

CALLS = "getpgid,0*3 getpgid,1 getppid*2"
OPENS = "open,'/etc/passwd,0 open,'/nonexistent/file,0 open,'/tmp/written,65 open,'/etc/group,0*2"


def others(rows: list[str]) -> list[str]:
    """Without what starts the other tool."""
    return [row for row in rows if "-m pybpf" not in row]


@dataclass(frozen=True)
class Case:
    """A command line."""

    tool: str
    options: str  #: ``{pid}``: a process that makes the calls; ``{own}``: the one that starts programs
    work: str  #: calls of that process; or ``"execs"``, ``"reads"``
    ready: str = r"\S"  #: how the line begins by which a tool says that it is ready
    #: rows of the output, as they are compared: what may differ is left out
    normal: Callable[[list[str]], list[str]] = others
    repeats: bool = False  #: that line is the head of a report, which is printed again and again
    note: str = ""

    @property
    def anywhere(self) -> bool:
        """Whether it can be compared without kprobes and the headers of the kernel that runs."""
        kernel = ("do_sys_open", "vfs_", "t:syscalls")
        return self.tool in ("trace", "funccount", "argdist") and not any(word in self.options for word in kernel)


def without(columns: int) -> Callable[[list[str]], list[str]]:
    """Rows without their first columns, which are times."""
    return lambda rows: [" ".join(row.split()[columns:]) for row in others(rows)]


def without_blank(rows: list[str]) -> list[str]:
    return [row for row in rows if row.strip()]


def sorted_rows(rows: list[str]) -> list[str]:
    """Where equal numbers come in any order."""
    return sorted(without_blank(rows))


def last_report(rows: list[str]) -> list[str]:
    """What a tool that adds up has printed last; rows with equal numbers in any order."""
    heads = [i for i, row in enumerate(rows) if re.match(r"\[\d\d:", row)]
    return sorted(without_blank(rows[heads[-1] + 1 :])) if heads else rows


def frames(rows: list[str]) -> list[str]:
    """Stacks, without what tracing itself adds to them."""
    return [row for row in without_blank(rows) if "trampoline" not in row and "kprobe" not in row]


def histogram(rows: list[str]) -> list[str]:
    """The form of histograms, and whether all requests of the work are in them: each takes another time."""
    counts = [int(match[1]) for row in rows if (match := re.search(r"-> \d+ +: (\d+) ", row))]
    titles = [" ".join(row.split()) for row in rows if "->" not in row and "{" not in row and row.strip()]
    titles = [re.sub(r"\d+", "N", title) for title in titles]
    return [*dict.fromkeys(titles), f"all {READS}" if sum(counts) >= READS else f"{sum(counts)} of {READS}"]


def _execs(caller: Caller) -> None:
    with suppress(OSError):
        os.posix_spawn("/nonexistent/program", ["program", "x"], {})
    for words in (
        ["/bin/true", "one", "two"],
        ["/bin/echo", 'a "b"', "line\nend"],
        ["/bin/true", *map(str, range(30))],
    ):
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def _reads(caller: Caller) -> None:
    disk = os.open(DISK, os.O_RDONLY | os.O_DIRECT)
    with mmap(-1, BLOCK) as buffer:
        for number in range(READS):
            os.preadv(disk, [buffer], number * BLOCK)
    os.close(disk)


_WORK: Mapping[str, Callable[[Caller], None]] = MappingProxyType({"execs": _execs, "reads": _reads})


def work(what: str, caller: Caller) -> None:
    if what in _WORK:
        _WORK[what](caller)
    else:
        caller.call(what)


def _bytes(line: str) -> str:
    """BCC's names of bytes without the way in which Python writes them."""
    return re.sub(r"\bb(['\"])(.*?)\1", r"\2", line)


def rows_of(case: Case, lines: list[str]) -> tuple[str, list[str]]:
    """(header, the rest), both as they are compared; without the traceback in which BCC may end when it detaches."""
    lines = lines[: next((i for i, line in enumerate(lines) if line.startswith(DEBRIS)), len(lines))]
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    lines = [re.sub(r"^Tracing \d+ functions", "Tracing N functions", line) for line in lines]
    lines = [_bytes(line).rstrip().replace("\"'", '"').replace("'\"", '"') for line in lines if line != "^C"]
    head, rest = (lines[0], lines[1:]) if lines and not case.repeats else ("", lines)
    return head, [row.rstrip() for row in case.normal(rest)]


def _exec(options: str, **more: object) -> Case:
    return Case("execsnoop", options, "execs", r"(TIME|UID|P?COMM) ", **more)  # type: ignore[arg-type]


def _open(options: str, **more: object) -> Case:
    return Case("opensnoop", options, OPENS, r"(TIME|UID|PID|TID) ", **more)  # type: ignore[arg-type]


def _bio(options: str) -> Case:
    return Case("biolatency", options, "reads", "Tracing block", histogram)


def _trace(options: str, calls: str = CALLS, **more: object) -> Case:
    return Case("trace", f"-p {{pid}} {options}", calls, r"(TIME|CPU|PID) ", **more)  # type: ignore[arg-type]


def _count(options: str, calls: str = CALLS) -> Case:
    return Case("funccount", f"-p {{pid}} {options}", calls, "Tracing", sorted_rows)


def _dist(options: str, calls: str = CALLS) -> Case:
    return Case("argdist", f"-p {{pid}} -c {options}", calls, r"\[\d\d:", last_report, repeats=True)


CASES = (
    _exec("-x"),
    _exec("-q -T", normal=without(1)), _exec("-t -U", normal=without(1)), _exec("-n echo"), _exec("-l two"),
    _exec("--max-args 3 -P {own}"), _exec("-x -u root"),
    _open("-p {pid}"), _open("-x -U -e -p {pid}"), _open("-T -t {pid}", normal=without(1)), _open("-n called"),
    _open("-f O_WRONLY -f O_RDWR -p {pid}"),
    _bio(""), _bio("-Q -m"), _bio("-D -e"), _bio("-F"),
    _trace("'p:c:getpgid \"%d\", arg1'"), _trace("'r:c:getpgid \"%d\", retval'"),
    _trace("'p:c:open \"%s %x\", arg1, arg2'", OPENS),
    _trace("'p:c:open (STRCMP(\"/etc/\", arg1)) \"%s\", arg1'", OPENS),
    _trace("'t:syscalls:sys_enter_openat \"%s\", args->filename'", OPENS),
    _trace("'do_sys_openat2(int dfd, const char __user *filename) \"%s\", filename'", OPENS),
    _trace("'r::do_sys_openat2 \"ret=%d\", retval'", OPENS),
    _trace(
        "'p:c:getppid' 'r:c:getpgid (retval > 1) \"%d\", retval'", normal=sorted_rows,
        note="in the order of the calls here, BCC has one probe after the other",
    ),
    _trace("-T 'p:c:getppid'", normal=without(1)), _trace("-t -C 'p:c:getppid'", normal=without(2)),
    _trace("-K 'p::do_sys_openat2'", OPENS, normal=frames), _trace(
        "-U 'p:c:getppid'", normal=frames, note="a frame without a name has that of its mapping here",
    ),
    _trace("-n called 'p:c:getppid'"), _trace("-f =-2 'r::do_sys_openat2 \"ret=%d\", retval'", OPENS),
    _count("c:getp*"), _count("'vfs_*'", OPENS), _count("-r '^do_sys_open.*$'", OPENS), _count("c:open", OPENS),
    _dist("-C 'p:c:getpgid(int pid):int:pid'"), _dist("-C 'r:c:getpgid(int pid):int:$retval'"),
    _dist("-H 'p:c:getpgid(int pid):int:pid'"), _dist("-C 'p:c:open(char *path):char*:path'", OPENS),
    _dist("-C 't:syscalls:sys_enter_openat():char*:args->filename'", OPENS),
    _dist("-C 'p::do_sys_openat2()'", OPENS), _dist("-C 'r:c:getpgid(int pid):int:$entry(pid)'"),
    _dist("-C 'p:c:getpgid(int pid):int:pid:pid > 0#above zero'"),
    _dist("-T 1 -C 'p:c:getpgid(int pid):int:pid'"),
    _dist("-C 'p:c:open(char *path, int flags):char*,int:path,flags'", OPENS),
)  # fmt: skip
