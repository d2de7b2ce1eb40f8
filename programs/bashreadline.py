"""Trace the commands that are typed into bash."""

from __future__ import annotations

from typing import Any

from pybpf import Struct, char, u32, u64
from pybpf.lang import ktime_ns, pid, read_user_str, user_ptr
from pybpf.tool import Column, FirstOf, Run, Tool, option, shared

#: The line is what the function returns; of bash's own readline, of newer versions that inline it, or of the library.
SHELL, LIBRARY = "/bin/bash", "libreadline.so.8"
#: what readline() returns
Text: Any = user_ptr(char)
FUNCTIONS = ("readline_internal_teardown", "readline")


class Line(Struct):
    """A line that was typed."""

    time: u64
    pid: u32
    command: char[512]


def places(file: str | None) -> FirstOf:
    """Where lines are seen: in a file, or where bash has its readline."""
    found = [(binary, name) for binary in ([file] if file else [SHELL, LIBRARY]) for name in FUNCTIONS]
    return FirstOf(*(f"uretprobe:{binary}:{name}" for binary, name in found), what="what is typed into bash")


LINES = places(None)


def trace(run: Run) -> None:
    """The probe, and a row for each line."""
    lines_of = places(run.options.shared) if run.options.shared else LINES
    tracer = run.tracer(comm="bash")
    lines = tracer.events(Line)

    @lines_of.on(tracer)
    def typed(ret: Text) -> None:
        if ret is not None:  # the end of the input
            lines.emit(time=ktime_ns(), pid=pid(), command=read_user_str(ret))

    rows = run.rows([
        run.clock.wall("%-9s "),
        Column("PID", "%-7d ", "pid", lambda event: event.pid),
        Column("COMMAND", "%s", "command", lambda event: event.command),
    ])  # fmt: skip
    run.start(tracer)
    rows.header()
    run.deliver({lines: rows.write})


TOOL = Tool(
    name="bashreadline",
    topic="Applications",
    summary="trace commands that are typed into bash",
    trace=trace,
    probes=(LINES,),
    options=(
        option("-s", "--shared", metavar="FILE", help="the shell or library that has readline()"),
        *shared("who duration rows"),
    ),
    examples=(
        ("", "what all shells are told"),
        ("-p 181", "in one of them"),
        ("-s /usr/local/bin/bash", "another shell"),
    ),
)
main = TOOL.main
