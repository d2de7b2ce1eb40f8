"""Trace signals that processes send by kill(2)."""

from __future__ import annotations

from collections.abc import Sequence

from pybpf import Struct, char, s32, u32, u64
from pybpf.lang import comm, ktime_ns, pid, tid
from pybpf.tool import Column, Moment, Run, SyscallProbes, Tool, arguments, option, shared

KILLS = SyscallProbes("kill", what="signals being sent")


class Begun(Struct):
    """A call that has not returned."""

    target: s32
    signal: s32


class Kill(Struct):
    """One that has."""

    time: u64
    pid: u32
    target: s32
    signal: s32
    ret: s32
    comm: char[16]


def trace(run: Run) -> None:
    """The probes, and a row for each signal."""
    options = run.options
    tracer = run.tracer()
    kills = tracer.events(Kill)
    begun = tracer.hash(u32, Begun)
    only_failed: bool = options.failed
    wanted_target: int | None = options.tpid
    chosen = options.signal is not None
    # of the signals, which are numbered from 1; 0 asks whether a process is there
    wanted, asking = sum(1 << number - 1 for number in options.signal or () if number), 0 in (options.signal or ())

    @KILLS.enter(tracer)
    def begins(target: s32, signal: s32) -> None:
        if wanted_target is not None and target != wanted_target:
            return
        if chosen and not (asking if signal == 0 else 1 <= signal <= 64 and bool(wanted >> signal - 1 & 1)):
            return
        begun[tid()] = Begun(target=target, signal=signal)

    @KILLS.leave(tracer)
    def ends(ret: s32) -> None:
        call = begun.pop(tid())
        if call is None or (only_failed and ret >= 0):
            return
        kills.emit(time=ktime_ns(), pid=pid(), target=call.target, signal=call.signal, ret=ret, comm=comm())

    rows = run.rows(columns(run), lambda event: "red" if event.ret < 0 else "",
                    Moment(lambda event: f"signal {event.signal} to {event.target}"))
    run.start(tracer)
    rows.header()
    run.deliver({kills: rows.write})


def columns(run: Run) -> list[Column]:
    """Those of BCC's killsnoop: ids have room for the largest there can be."""
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
        width = len(file.read().strip()) + 1
    return [
        run.clock.wall("%-9s "),
        Column("PID", f"%-{width}d ", "pid", lambda event: event.pid),
        Column("COMM", "%-16s ", "comm", lambda event: event.comm),
        Column("SIG", "%-4d ", "signal", lambda event: event.signal),
        Column("TPID", f"%-{width}d ", "target_pid", lambda event: event.target),
        Column("RESULT", "%d", "result", lambda event: event.ret),
    ]


def signals(text: str) -> Sequence[int]:
    """Signals, by numbers or names, with commas between; each once."""
    return list(dict.fromkeys(arguments.signal_number(each) for each in text.split(",")))


TOOL = Tool(
    name="killsnoop",
    topic="Processes",
    summary="trace signals that processes send by kill(2)",
    trace=trace,
    follows=True,
    probes=(KILLS,),
    options=(
        option("-x", "--failed", action="store_true", help="only those that fail"),
        option("-T", "--tpid", type=arguments.whole, metavar="PID", help="only to this process (negative: a group)"),
        option("-s", "--signal", type=signals, metavar="SIGNALS", help="only these, as 9,SIGTERM"),
        *shared("who ends rows perfetto"),
    ),
    examples=(
        ("", "all signals that are sent"),
        ("-s KILL,TERM", "those that end processes"),
        ("-T 181 -x", "what failed to reach process 181"),
    ),
    notes="Not seen are signals to single threads (tkill, tgkill), by pidfd_send_signal, and of the kernel itself.",
)
main = TOOL.main
