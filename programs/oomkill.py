"""Trace processes that the kernel kills because there is no memory left."""

from __future__ import annotations

from typing import Any

from pybpf import Struct, char, s32, u32, u64
from pybpf.lang import KernelStack, comm, kernel_stack, ktime_ns, pid
from pybpf.lang import pid as process
from pybpf.tool import FirstOf, Run, Tool, clean, frame_text, shared, symbols_of

# The newer record says whom it is about, and how large it is; the older one has no more than the pid.
KILL = FirstOf(
    "tracepoint:oom:mark_victim(comm)", "tp_btf:mark_victim(task)", "kprobe:oom_kill_process",
    "tracepoint:oom:mark_victim", "tp_btf:mark_victim(pid)", what="processes being killed for want of memory",
)  # fmt: skip


class Kill(Struct):
    """A victim, and who was asking for memory."""

    time: u64
    pages: u64  #: that there were to choose from; 0: not known
    total_vm: u64  #: of the victim, in KiB, as what follows
    anon_rss: u64
    file_rss: u64
    shmem_rss: u64
    pid: u32  #: who was asking
    victim: u32
    uid: u32
    score: s32  #: the victim's oom_score_adj
    sizes: u32  #: whether these are known
    stack: KernelStack
    comm: char[16]
    victim_comm: char[16]


def trace(run: Run) -> None:
    """The probe, and a line for each victim."""
    tracer = run.tracer()
    kills = tracer.events(Kill)

    @KILL.on(tracer, "tracepoint:oom:mark_victim(comm)")
    def marked(args: Any) -> None:
        kills.emit(
            time=ktime_ns(), pid=pid(), comm=comm(), victim=args.pid, victim_comm=args.comm, total_vm=args.total_vm,
            anon_rss=args.anon_rss, file_rss=args.file_rss, shmem_rss=args.shmem_rss, uid=args.uid,
            score=args.oom_score_adj, sizes=1, stack=kernel_stack(),
        )  # fmt: skip

    @KILL.on(tracer, "tp_btf:mark_victim(task)")
    def typed(task: Any) -> None:
        kills.emit(time=ktime_ns(), pid=pid(), comm=comm(), victim=task.tgid, victim_comm=task.comm,
                   stack=kernel_stack())  # fmt: skip

    @KILL.on(tracer, "kprobe")
    def killing(oc: Any) -> None:
        victim = oc.chosen
        kills.emit(time=ktime_ns(), pid=pid(), comm=comm(), victim=victim.tgid, victim_comm=victim.comm,
                   pages=oc.totalpages, stack=kernel_stack())  # fmt: skip

    @KILL.on(tracer, "tracepoint:oom:mark_victim")
    def marked_before(args: Any) -> None:
        kills.emit(time=ktime_ns(), pid=pid(), comm=comm(), victim=args.pid, stack=kernel_stack())

    @KILL.on(tracer, "tp_btf:mark_victim(pid)")
    def typed_before(pid: Any) -> None:
        kills.emit(time=ktime_ns(), pid=process(), comm=comm(), victim=pid, stack=kernel_stack())

    run.say("Tracing OOM kills... Hit Ctrl-C to end.")
    run.start(tracer)
    run.deliver({kills: lambda event: report(run, event)})


def report(run: Run, event: Any) -> None:
    """One victim."""
    output = run.output
    name = event.victim_comm or name_of(event.victim)
    with open("/proc/loadavg", encoding="ascii") as file:
        load = file.read().strip()
    if output.form == "json":
        sizes = ("total_vm", "anon_rss", "file_rss", "shmem_rss")
        output.object({
            "time": run.clock.unix(event.time), "pid": event.pid, "comm": event.comm, "victim_pid": event.victim,
            "victim_comm": name, "pages": event.pages or None,
            **{f"{size}_kb": getattr(event, size) if event.sizes else None for size in sizes},
            "victim_uid": event.uid if event.sizes else None, "oom_score_adj": event.score if event.sizes else None,
            "loadavg": load, "stack": [str(frame) for frame in symbols_of(event.stack)],
        })  # fmt: skip
        return
    size = f", {event.pages} pages" if event.pages else ""
    if event.sizes:
        size = f", total-vm {event.total_vm} kB, anon-rss {event.anon_rss} kB, file-rss {event.file_rss} kB"
    output.line(f'{run.clock.text(event.time)} Triggered by PID {event.pid} ("{clean(event.comm)}"), OOM kill of PID '
                f'{event.victim} ("{clean(name)}"){size}, loadavg: {load}')  # fmt: skip
    for frame in symbols_of(event.stack):
        output.line(f"\t{frame_text(frame)}")


def name_of(process: int) -> str:
    """Of a process that is there still."""
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "[unknown]"


TOOL = Tool(
    name="oomkill",
    topic="Memory",
    summary="trace processes that are killed for want of memory",
    trace=trace,
    probes=(KILL,),
    options=shared("who ends json"),
    examples=(
        ("", "all of them: who asked for memory, and who was killed for it"),
        ("--container web", "for want of memory in a container"),
        ("--json -d 3600", "of an hour, as JSON"),
    ),
    notes="""\
The filters are about who asked for memory, which is a process of the control group where that has a limit. Where the
kernel tells them (Linux 6.8) the sizes are the victim's; a kprobe gives the number of pages that there can be.""",
)
main = TOOL.main
