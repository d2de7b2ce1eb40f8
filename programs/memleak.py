"""Trace memory that is allocated and not given back: of a process, or of the kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from pybpf import Struct, char, u8, u32, u64
from pybpf.lang import KernelStack, UserStack, comm, cpu, kernel_stack, ktime_ns, pid, user_stack
from pybpf.symbols import Symbol
from pybpf.tool import (
    THREAD_ENDS,
    Allocators,
    FirstOf,
    Pictures,
    Run,
    Tool,
    arguments,
    clean,
    frame_text,
    option,
    shared,
    symbols_of,
    undisturbed,
)

# What of them a kernel has differs; each is used where it is there.
KMALLOC = FirstOf("tracepoint:kmem:kmalloc", what="kmalloc")
KMALLOC_NODE = FirstOf("tracepoint:kmem:kmalloc_node", what="kmalloc on a node", optional=True)
CACHE_ALLOC = FirstOf("tracepoint:kmem:kmem_cache_alloc", what="slab caches")
CACHE_ALLOC_NODE = FirstOf("tracepoint:kmem:kmem_cache_alloc_node", what="slab caches on a node", optional=True)
KFREE = FirstOf("tracepoint:kmem:kfree", what="kfree")
CACHE_FREE = FirstOf("tracepoint:kmem:kmem_cache_free", what="slab caches")
PAGE_ALLOC = FirstOf("tracepoint:kmem:mm_page_alloc", what="pages")
PAGE_FREE = FirstOf("tracepoint:kmem:mm_page_free", what="pages")
PERCPU_ALLOC = FirstOf("tracepoint:percpu:percpu_alloc_percpu", what="memory per CPU")
PERCPU_FREE = FirstOf("tracepoint:percpu:percpu_free_percpu", what="memory per CPU")
EXEC = FirstOf(
    "tracepoint:sched:sched_process_exec", "raw_tracepoint:sched_process_exec", what="programs being executed"
)

#: allocations that are kept at once, and stacks
MOST, STACKS = 1_000_000, 16384
PAGE = os.sysconf("SC_PAGE_SIZE")
#: an allocation of pages that failed
NO_PAGE = (1 << 64) - 1


class Where(Struct):
    """What allocations are kept under: they end with the program that made them."""

    address: u64
    pid: u32  #: 0: the kernel
    program: u32  #: how many the process has executed since the start


class UserAllocation(Struct):
    """Memory that a process has."""

    size: u64
    time: u64
    stack: UserStack


class KernelAllocation(Struct):
    """Memory that the kernel has."""

    size: u64
    time: u64
    stack: KernelStack


class Sum(Struct):
    """What --combined-only keeps of a stack."""

    bytes: u64
    count: u64


class NewStack(Struct):
    """A stack that was not seen before: its names are looked up while its process is there."""

    stack: UserStack


class Step(Struct):
    """What -t prints."""

    time: u64
    address: u64
    size: u64
    pid: u32
    cpu: u32
    freed: u8
    comm: char[16]


class Group(NamedTuple):
    """The allocations of a stack that were not given back."""

    size: int
    number: int
    stack: Any


class Tracing:
    """The probes, and the maps that they keep."""

    def __init__(self, run: Run) -> None:
        self.run = run
        options = run.options
        self.user: bool = run.pid is not None
        tracer = self.tracer = run.tracer(max_stacks=STACKS)
        kind: Any = UserStack if self.user else KernelStack
        allocation: Any = UserAllocation if self.user else KernelAllocation
        # inside of the kernel's allocators nothing can be allocated
        self.allocations = tracer.hash(Where, allocation, options.most, preallocate=not self.user)
        self.programs = tracer.hash(u32, u32)
        self.sums = tracer.hash((kind, u32), Sum, STACKS)
        self.known = tracer.hash(UserStack, u8, STACKS)
        self.fresh = tracer.events(NewStack)
        self.steps = tracer.events(Step, pages=256)
        self.turn = tracer.percpu_array(u64, 1)
        self.allocation = allocation
        if self.user:
            allocators = Allocators(tracer, options.obj, run.pid, options.symbols_prefix)
            allocators.attach(self._allocated(), self._freed())
            EXEC.on(tracer)(self._executed())
        elif options.percpu:
            self._at_percpu()
        else:
            self._at_kernel()

    def _allocated(self) -> Callable[[int, int], None]:
        options = self.run.options
        allocations, known, fresh, sums, steps = self.allocations, self.known, self.fresh, self.sums, self.steps
        turn, programs, allocation, user = self.turn, self.programs, self.allocation, self.user
        least, most, every = options.min_size, options.max_size, options.sample_rate
        combined, told = options.combined_only, options.trace
        remove = self._removing()

        def allocated(address: int, size: int) -> None:
            if size < least or (most is not None and size > most):
                return
            if every > 1:
                turn[0] += 1
                if turn[0] % every:
                    return
            if told:
                steps.emit(time=ktime_ns(), address=address, size=size, pid=pid(), cpu=cpu(), freed=0, comm=comm())
            stack = user_stack() if user else kernel_stack()
            process = pid() if user else 0
            program = programs[process] if user else 0
            where = Where(address=address, pid=process, program=program)
            if combined:
                remove(where, 0, ktime_ns())  # that it was freed was not seen
                entry = sums.setdefault((stack, program), Sum())
                if entry is not None:
                    entry.bytes += size
                    entry.count += 1
            allocations[where] = allocation(size=size, time=ktime_ns(), stack=stack)
            if user and stack not in known:
                known[stack] = 1
                fresh.emit(stack=stack)

        return allocated

    def _removing(self) -> Callable[[Any, int, int], None]:
        allocations, sums, steps, user, allocation = self.allocations, self.sums, self.steps, self.user, self.allocation
        combined, told = self.run.options.combined_only, self.run.options.trace

        def remove(where: Any, size: int, since: int) -> None:
            found = allocations.get(where)
            if found is None or found.time > since:
                return
            kept = found.size - size if size and size < found.size else 0
            gone = found.size - kept
            if told:
                at = where.address
                steps.emit(time=ktime_ns(), address=at, size=gone, pid=pid(), cpu=cpu(), freed=1, comm=comm())
            time, stack = found.time, found.stack
            del allocations[where]
            if user and kept:  # munmap of the first part
                rest = Where(address=where.address + size, pid=where.pid, program=where.program)
                allocations[rest] = allocation(size=kept, time=time, stack=stack)
            if combined:
                entry = sums.get((stack, where.program))
                if entry is not None:
                    entry.bytes -= gone
                    entry.count -= 0 if kept else 1

        return remove

    def _freed(self) -> Callable[[int, int, int], None]:
        programs, user = self.programs, self.user
        remove = self._removing()

        def freed(address: int, size: int, since: int) -> None:
            process = pid() if user else 0
            remove(Where(address=address, pid=process, program=programs[process] if user else 0), size, since)

        return freed

    def _executed(self) -> Callable[[], None]:
        programs = self.programs

        def executed() -> None:
            programs[pid()] += 1

        return executed

    def _at_kernel(self) -> None:
        tracer, allocated, freed = self.tracer, self._allocated(), self._freed()

        def kmalloc(args: Any) -> None:
            allocated(args.ptr, args.bytes_alloc)

        def pages(args: Any) -> None:
            if args.pfn != NO_PAGE:
                allocated(args.pfn, PAGE << args.order)

        def kfree(args: Any) -> None:
            freed(args.ptr, 0, ktime_ns())

        def free_pages(args: Any) -> None:
            freed(args.pfn, 0, ktime_ns())

        for place in (KMALLOC, KMALLOC_NODE, CACHE_ALLOC, CACHE_ALLOC_NODE):
            place.on(tracer)(kmalloc)
        for place in (KFREE, CACHE_FREE):
            place.on(tracer, everyone=True)(kfree)
        PAGE_ALLOC.on(tracer)(pages)
        PAGE_FREE.on(tracer, everyone=True)(free_pages)

    def _at_percpu(self) -> None:
        tracer, allocated, freed = self.tracer, self._allocated(), self._freed()

        @PERCPU_ALLOC.on(tracer)
        def percpu(args: Any) -> None:
            if args.ptr:
                allocated(args.ptr, args.size)

        @PERCPU_FREE.on(tracer, everyone=True)
        def percpu_free(args: Any) -> None:
            freed(args.ptr, 0, ktime_ns())

    def outstanding(self, older_ns: int) -> Iterator[tuple[Any, int, Any]]:
        """(address, size, stack) of what was not given back and is so old."""
        programs = dict(self.programs.items())
        newest = time.monotonic_ns() - older_ns
        for where, each in self.allocations.items():
            if where.program != programs.get(where.pid, 0):  # execve(2) has given it back
                self.allocations.pop(where, None)
            elif each.time <= newest:
                yield where.address, each.size, each.stack

    def groups(self, found: Iterable[tuple[Any, int, Any]]) -> list[Group]:
        """Them by stack, in no order."""
        if self.run.options.combined_only:
            programs = dict(self.programs.items())
            return [
                Group(each.bytes, each.count, stack)
                for (stack, program), each in ((tuple(key), each) for key, each in self.sums.items())
                if each.count > 0 and program == programs.get(getattr(stack, "pid", 0), 0)
            ]
        sums: dict[Any, Group] = {}
        for _, size, stack in found:
            before = sums.get(key := (stack.id, getattr(stack, "pid", 0)))
            sums[key] = Group(size, 1, stack) if before is None else Group(before.size + size, before.number + 1, stack)
        return list(sums.values())


class Report:
    """Prints what was not given back.

    :ivar reports: how many were printed.
    """

    def __init__(self, run: Run, tracing: Tracing) -> None:
        self.run = run
        self.tracing = tracing
        self.pictures = Pictures(run, "allocated", "bytes")
        self.names: dict[Any, list[Symbol]] = {}
        self.reports = 0

    def learn(self, event: NewStack) -> None:
        """A new stack: its process is still there, probably."""
        self.frames(event.stack)

    def frames(self, stack: Any) -> list[Symbol]:
        """The frames of a stack, innermost first."""
        key = stack.id, getattr(stack, "pid", 0)
        found = self.names.get(key)
        if found is None:
            found = symbols_of(stack)
            if all(frame.module for frame in found):  # else what is mapped there is not known yet: asked again
                self.names[key] = found
        return found

    def print(self, final: bool = False) -> None:
        """One report. What is younger than --older is left out, but of a process that has ended."""
        options, output, now = self.run.options, self.run.output, time.time()
        over = final and self.run.pid is not None and ended(self.run.pid)
        with undisturbed():
            found = list(self.tracing.outstanding(0 if over else options.older * 1_000_000))
            groups = self.tracing.groups(found)
        groups.sort(key=lambda group: (group.number, group.size) if options.sort == "count" else group[:2])
        self.reports += 1
        if self.pictures.wanted:
            self.pictures.clear()
            for group in groups:
                frames = self.frames(group.stack) if group.stack.id >= 0 else group.stack
                user = self.tracing.user
                self.pictures.add(group.size, frames if user else None, None if user else frames)
        if self.pictures.print():
            return
        found.sort(key=lambda each: each[1])
        top = groups[-options.top :]
        if output.form == "json":
            self._print_json(now, found, groups, top)
            return
        output.line(f"[{time.strftime('%H:%M:%S', time.localtime(now))}] Top {options.top} stacks with outstanding "
                    "allocations:")  # fmt: skip
        for address, size, _ in found if options.show_allocs else ():
            output.line(f"\taddr = {address:x} size = {size}")
        for group in top:
            output.line(f"\t{group.size} bytes in {group.number} allocations from stack")
            for frame in self.frames(group.stack):
                output.line(f"\t\t0x{frame.address:016x}\t{frame_text(frame)}")
            if group.stack.id < 0:
                output.line("\t\t[no stack]")

    def _print_json(self, now: float, found: list[tuple[Any, int, Any]], groups: list[Group], top: list[Group]) -> None:
        stacks = [
            {"bytes": group.size, "count": group.number,
             **({"pid": group.stack.pid} if self.tracing.user else {}),
             "stack": [str(frame) for frame in self.frames(group.stack)]}
            for group in top
        ]  # fmt: skip
        allocations = [{"address": address, "bytes": size} for address, size, _ in found]
        self.run.output.object({
            "time": round(now, 3), "bytes": sum(group.size for group in groups),
            "count": sum(group.number for group in groups), "stacks": stacks,
            **({"allocations": allocations} if self.run.options.show_allocs else {}),
        })  # fmt: skip

    def step(self, event: Step) -> None:
        """A line of -t."""
        run, what = self.run, "free" if event.freed else "alloc"
        if run.output.form == "json":
            run.output.object({
                "time": run.clock.unix(event.time), "pid": event.pid, "comm": event.comm, "cpu": event.cpu,
                "event": what, "address": event.address, "bytes": event.size,
            })  # fmt: skip
            return
        result = f"alloc exited, size = {event.size}, result = {event.address:x}"
        if event.freed:
            result = f"free entered, address = {event.address:x}, size = {event.size}"
        seconds = f"{run.clock.since_begin(event.time):.6f}"
        run.output.line(f"({clean(event.comm)} {event.pid} {event.cpu} {seconds}) {result}")


def ended(process: int) -> bool:
    """Whether a process has ended; also one that is only still to be waited for."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def trace(run: Run) -> None:
    """A report every interval, and a last one."""
    options = run.options
    tracing = Tracing(run)
    report = Report(run, tracing)
    if run.child.pid:
        run.say(f"Executing '{clean(' '.join(run.child.command))}' and tracing the resulting process.")
    run.say(f"Attaching to {f'pid {run.pid}' if tracing.user else 'kernel allocators'}, Ctrl+C to quit.")
    run.start(tracing.tracer)
    if options.trace:
        run.deliver({tracing.steps: report.step})
        return

    def interval() -> None:
        report.print()
        if report.reports == options.count:
            run.stop()

    run.deliver({tracing.fresh: report.learn}, options.interval, interval)
    if report.reports != options.count:
        report.print(final=True)
    report.pictures.save()


def check(options: Any) -> str:
    """What cannot be together."""
    process = options.pid is not None or options.command or options.exec
    if options.percpu and process:
        return "--percpu is for the memory of the kernel: without --pid and commands"
    if options.max_size is not None and options.max_size < options.min_size:
        return "no size is at least --min-size and at most --max-size"
    return ""


TOOL = Tool(
    name="memleak",
    topic="Memory",
    summary="show memory that is allocated and not given back, by stack",
    trace=trace,
    check=check,
    probes=(
        "of a process: uprobes of malloc, calloc, realloc, mmap, mremap, posix_memalign, valloc, memalign, pvalloc, "
        "aligned_alloc, free, munmap",
        EXEC, THREAD_ENDS, KMALLOC, KMALLOC_NODE, CACHE_ALLOC, CACHE_ALLOC_NODE, KFREE, CACHE_FREE, PAGE_ALLOC,
        PAGE_FREE, PERCPU_ALLOC, PERCPU_FREE,
    ),
    options=(
        option("-t", "--trace", action="store_true", help="print each allocation and each free instead of reports"),
        option("-a", "--show-allocs", action="store_true", help="print the address and the size of each allocation"),
        option("-o", "--older", type=arguments.not_negative, default=500, metavar="MS",
               help="only what is at least so old, in milliseconds"),
        option("--combined-only", action="store_true",
               help="add up by stack in the kernel: cheaper to read; --older does not count"),
        option("--wa-missing-free", action="store_true",
               help="as always: an address that is allocated again counts as having been freed"),
        option("-s", "--sample-rate", type=arguments.positive, default=1, metavar="N",
               help="only every N-th allocation of each CPU"),
        option("-z", "--min-size", type=arguments.size, default=0, metavar="BYTES",
               help="only allocations of at least this size"),
        option("-Z", "--max-size", type=arguments.size, metavar="BYTES",
               help="only allocations of at most this size"),
        option("-O", "--obj", default="c", metavar="FILE", help="a program or library that has the allocators"),
        option("--symbols-prefix", default="", metavar="TEXT", help="of the allocators' names, as je_"),
        option("--percpu", action="store_true", help="of the kernel's memory what each CPU has"),
        option("--sort", choices=("size", "count"), default="size", help="the order of the stacks"),
        option("--most", type=arguments.positive, default=MOST, metavar="N",
               help="how many allocations can be kept at once"),
        *shared("who command exec"),
        *shared("top=-T", default=10, help="print the first N stacks"),
        *shared("every", default=5),
        *shared("count duration json pictures"),
    ),
    examples=(
        ("-p 181", "what process 181 allocated and did not free, every 5 seconds"),
        ("-c 'ls -l' --top 3", "the same of a command, until it ends"),
        ("-p 181 -a -o 60000 10 6", "what is a minute old, with addresses, every 10 s, 6 times"),
        ("-p 181 --flamegraph leak.svg -d 60", "after a minute, as a flame graph"),
        ("-O ./server --symbols-prefix je_ -p 181", "of an allocator that is part of the program"),
        ("--comm kworker/0:1", "the kernel's own memory, allocated by a thread of it"),
    ),
    notes="""\
Without a process it is the kernel's memory: slabs and pages, or with --percpu what each CPU has. Frames of a process
are found by frame pointers: code that was compiled without them shows one caller or two.""",
)  # fmt: skip
main = TOOL.main
