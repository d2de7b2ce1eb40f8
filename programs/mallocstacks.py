"""Trace large allocations of memory, with the stacks that make them."""

from __future__ import annotations

from typing import Any

from pybpf import Struct, char, u32, u64
from pybpf.lang import UserStack, comm, ktime_ns, pid, tid, user_stack
from pybpf.tool import THREAD_ENDS, Allocators, Pictures, Run, Tool, arguments, clean, frame_text, option, shared


class Allocation(Struct):
    """A call that returned memory."""

    time: u64
    size: u64
    address: u64
    pid: u32
    tid: u32
    stack: UserStack
    comm: char[16]


def trace(run: Run) -> None:
    """The probes, and a block of lines for each allocation."""
    options = run.options
    tracer = run.tracer()
    threshold: int = options.threshold
    events = tracer.events(Allocation, pages=256)

    def allocated(address: int, size: int) -> None:
        if size >= threshold:
            events.emit(time=ktime_ns(), size=size, address=address, pid=pid(), tid=tid(), stack=user_stack(),
                        comm=comm())  # fmt: skip

    Allocators(tracer, options.obj, run.pid, options.symbols_prefix).attach(allocated)
    pictures = Pictures(run, "allocated", "bytes")

    def show(event: Any) -> None:
        pictures.add(event.size, event.stack, of=[event.comm])
        if run.output.form != "folded":
            report(run, event)

    run.say(f"Tracing allocations of at least {threshold} bytes... Hit Ctrl-C to end.")
    run.start(tracer)
    run.deliver({events: show})
    pictures.print()
    pictures.save()


def report(run: Run, event: Any) -> None:
    """One allocation."""
    output = run.output
    if output.form == "json":
        output.object({
            "time": run.clock.unix(event.time), "pid": event.pid, "tid": event.tid, "comm": event.comm,
            "bytes": event.size, "address": event.address, "stack": [str(frame) for frame in event.stack.frames],
        })  # fmt: skip
        return
    output.line()
    output.line(f"{clean(event.comm)} (pid={event.pid}, tid={event.tid})")
    output.line(f"  Allocated {event.size} bytes")
    frames = event.stack.frames
    if frames:
        output.line("  Stack trace:")
    for frame in frames:
        output.line(f"    {frame_text(frame)}")


TOOL = Tool(
    name="mallocstacks",
    topic="Memory",
    summary="trace large allocations of memory, with stacks",
    trace=trace,
    probes=(
        "uprobes of malloc, calloc, realloc, mmap, mremap, posix_memalign, valloc, memalign, pvalloc, aligned_alloc",
        THREAD_ENDS,
    ),
    options=(
        option("threshold", nargs="?", type=arguments.size, default=65536, metavar="BYTES",
               help="the least size"),
        option("-O", "--obj", default="c", metavar="FILE", help="a program or library that has the allocators"),
        option("--symbols-prefix", default="", metavar="TEXT", help="of the allocators' names, as je_"),
        *shared("who ends json pictures"),
    ),
    examples=(
        ("-p 181", "allocations of process 181 of 64 KiB and more"),
        ("1048576 --comm nginx", "of a mebibyte and more, by all that have this name"),
        ("0 -c ls --flamegraph out.svg", "all of a command, as a picture of bytes"),
    ),
    notes="""\
What an allocator calls in turn (malloc calls mmap) is not shown by itself. Stacks need frame pointers: code that was
compiled without them shows one caller or two.""",
)  # fmt: skip
main = TOOL.main
