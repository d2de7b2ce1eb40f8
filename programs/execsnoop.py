"""Trace programs being executed: every exec, with its whole command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pybpf import Struct, Tracer, char, s32, u8, u32, u64
from pybpf.lang import (
    comm,
    cpu,
    current_task,
    has_field,
    join_user_str,
    ktime_ns,
    pid,
    ppid,
    read_kernel_str,
    read_user_bytes,
    read_user_str,
    tid,
    uid,
)
from pybpf.tool import Column, FirstOf, Moment, Run, SyscallProbes, Tool, arguments, clean, option, shared

CALLS = SyscallProbes("execve", "execveat", what="programs being executed")
DONE = FirstOf(
    "tp_btf:sched_process_exec", "tracepoint:sched:sched_process_exec", what="programs that begin to run"
)

#: bytes of the longest file name, of all arguments, and how many arguments are read from the pointers to them
NAME, ARGS, STRINGS = 256, 4096, 64
#: between strings that are read from pointers: after a NUL, which none has in it, there is another one, or the end
BETWEEN = "\0\1"


class Call(Struct):
    """An execve that has not returned: where its strings are."""

    filename: u64
    argv: u64


class Saved(Struct):
    """The strings themselves: where the new program's own cannot be read, for the kernel's types are not known."""

    args: u8[ARGS]


class Exec(Struct):
    """A program that runs, or could not be executed."""

    time: u64
    pid: u32
    ppid: u32
    uid: u32
    cpu: u32
    ret: s32
    size: u32  #: bytes of all arguments; what is above :data:`ARGS` is cut
    joined: u32  #: arguments have :data:`BETWEEN` between them, rather than a NUL behind each
    script: u32  #: an interpreter runs it: its own arguments come first
    comm: char[16]
    pcomm: char[16]
    filename: char[NAME]
    args: u8[ARGS]


def trace(run: Run) -> None:
    """A row for each exec."""
    tracer = run.tracer()
    execs = tracer.events(Exec, pages=512)
    typed = DONE.choose() == "tp_btf:sched_process_exec"
    saved = tracer.hash(u32, Saved, max_entries=1 if typed else 256)
    at_programs(tracer, execs, saved)
    if run.options.fails or not typed:
        at_calls(tracer, execs, saved, run.options.fails, typed)

    rows = run.rows(columns(run), lambda event: "red" if event.ret < 0 else "",
                    Moment(lambda event: str(event.filename)))
    run.start(tracer)
    rows.header()
    wanted = matching(run.options)
    run.deliver({execs: lambda event: rows.write(event) if wanted(event) else None})


def describe(event: Any) -> None:
    """In a probe: who it is."""
    event.time, event.pid, event.uid, event.cpu, event.comm = ktime_ns(), pid(), uid(), cpu(), comm()
    if has_field("struct task_struct", "real_parent"):
        event.ppid = ppid()
        event.pcomm = current_task().real_parent.comm


def at_programs(tracer: Tracer, execs: Any, saved: Any) -> None:
    """The probes where a program begins to run."""

    @DONE.on(tracer, "tp_btf")
    def runs(p: Any, old_pid: Any, bprm: Any) -> None:
        # Here the kernel has just written the arguments to the new program's stack: no page is missing.
        with execs.reserve() as event:
            describe(event)
            start = current_task().mm.arg_start
            event.size = current_task().mm.arg_end - start
            event.args = read_user_bytes(start, event.size)
            event.filename = read_kernel_str(bprm.filename)
            event.script = bprm.interp != bprm.filename

    @DONE.on(tracer, "tracepoint")
    def runs_untyped(args: Any) -> None:
        with execs.reserve() as event:
            describe(event)
            event.filename = args.filename
            found = saved.get(args.old_pid)
            if found is not None:
                event.args = found.args
            event.joined = 1
        del saved[args.old_pid]


def at_calls(tracer: Tracer, execs: Any, saved: Any, fails: bool, typed: bool) -> None:
    """The probes at the system calls: for those that fail, and for the strings where they cannot be read later.

    :param fails: those that fail are wanted.
    :param typed: the strings are read from the new program.
    """
    calls = tracer.hash(u32, Call)

    def begins(filename: int, argv: int) -> None:
        calls[tid()] = Call(filename=filename, argv=argv)
        if not typed:
            saved[tid()] = Saved(args=join_user_str(argv, STRINGS, sep=BETWEEN))

    def ends(ret: int) -> None:
        call = calls.pop(tid())
        if not typed:
            del saved[tid()]
        if call is None or ret >= 0:  # a program that runs was seen there
            return
        with execs.reserve() as event:
            describe(event)
            event.ret = ret
            event.filename = read_user_str(call.filename)  # here: the call has brought it into memory
            event.args = join_user_str(call.argv, STRINGS, sep=BETWEEN)
            event.joined = 1

    @CALLS.enter(tracer, "execve")
    def execve_begins(filename: u64, argv: u64) -> None:
        begins(filename, argv)

    @CALLS.enter(tracer, "execveat")
    def execveat_begins(fd: s32, filename: u64, argv: u64) -> None:
        begins(filename, argv)

    @CALLS.leave(tracer)
    def exec_ends(ret: s32) -> None:
        if fails or ret >= 0:
            ends(ret)


def words_of(event: Any) -> list[str]:
    """The file that was executed, and the arguments behind its name."""
    if event.joined:
        words = bytes(event.args).rstrip(b"\0").split(BETWEEN.encode())
    else:
        words = bytes(event.args[: min(event.size, ARGS)]).split(b"\0")
        if event.size <= ARGS:  # otherwise the last one is cut
            del words[-1:]  # behind the last NUL
    text = [word.decode("utf-8", "surrogateescape") for word in words]
    own = text.index(event.filename, 1) if event.script and event.filename in text[1:] else 0
    return [event.filename, *text[own + 1 :]]


def columns(run: Run) -> list[Column]:
    """Those of BCC's execsnoop."""
    options, clock = run.options, run.clock

    def line(event: Any) -> str:
        words = words_of(event)
        shown = [shown_word(each, options.quote) for each in words[: options.max_args]]
        return " ".join([*shown, "..."] if len(words) > options.max_args or event.size > ARGS else shown)

    return [
        clock.wall("%-9s", shown=options.time),
        clock.offset("%-8.3f", shown=options.timestamp),
        Column("UID", "%-6d", "uid", lambda event: event.uid, options.print_uid),
        Column("COMM", "%-16s ", "comm", lambda event: event.comm),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("PCOMM", "%-16s ", "pcomm", lambda event: event.pcomm, options.print_pcomm),
        Column("PPID", "%-7s ", "ppid", parent),
        Column("CPU", "%-4d ", "cpu", lambda event: event.cpu, options.print_cpu),
        Column("RET", "%3d ", "ret", lambda event: event.ret),
        Column("ARGS", "%s", "args", words_of, text=line),
    ]


def shown_word(word: str, quote: bool) -> str:
    """A word as it is printed."""
    text = clean(word)
    return '"' + text.replace('"', '\\"') + '"' if quote else text


def parent(event: Any) -> Any:
    """The parent's id; where the kernel's types are not known it is asked of /proc, and may be gone."""
    if event.ppid:
        return event.ppid
    try:
        with open(f"/proc/{event.pid}/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("PPid:"))
    except (OSError, StopIteration):
        return "?"


def matching(options: Any) -> Callable[[Any], bool]:
    """Whether an event is wanted, by what only Python can tell."""
    name, line = options.name, options.line

    def wanted(event: Any) -> bool:
        if name is not None and not name.search(event.comm):
            return False
        return line is None or bool(line.search(" ".join(words_of(event))))

    return wanted


TOOL = Tool(
    name="execsnoop",
    topic="Processes",
    summary="trace programs being executed",
    trace=trace,
    follows=True,
    probes=(DONE, CALLS),
    options=(
        option("-T", "--time", action="store_true", help="print the time of day"),
        option("-t", "--timestamp", action="store_true", help="print the time since the start, in seconds"),
        option("-x", "--fails", action="store_true", help="also execs that fail"),
        option("-q", "--quote", action="store_true", help="put arguments in quotation marks"),
        option("-n", "--name", type=arguments.regex, metavar="RE", help="only commands whose name matches"),
        option("-l", "--line", type=arguments.regex, metavar="RE", help="only where the command line matches"),
        option("-U", "--print-uid", action="store_true", help="print the user"),
        option("-C", "--print-cpu", action="store_true", help="print the CPU"),
        option("-M", "--print-pcomm", action="store_true", help="print the name of the parent"),
        option("--max-args", type=arguments.positive, default=20, metavar="N", help="words that are shown"),
        *shared("ppid=-P who ends rows perfetto"),
    ),
    examples=(
        ("", "all programs that are executed"),
        ("-x -T", "also those that cannot be, with the time"),
        ("-u 1000 -q", "those of user 1000, arguments in quotation marks"),
        ("-l testpkg --json", "where the command line has testpkg in it, as JSON"),
    ),
    notes=f"""\
-x also attaches to the system calls. Arguments of more than {ARGS} bytes together are cut, and of a failed exec more
than {STRINGS}; "..." says so. System calls that fail in 32-bit programs are not seen.""",
)
main = TOOL.main
