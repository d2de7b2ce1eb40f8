"""Trace memory that is allocated and not given back: of a process, or of the kernel."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pybpf import Struct, char, u8, u32, u64
from pybpf.lang import KernelStack, UserStack, comm, cpu, kernel_stack, ktime_ns, pid, user_stack
from pybpf.tool import (
    THREAD_ENDS,
    Allocators,
    FirstOf,
    LeakReport,
    Left,
    Mappings,
    Run,
    Tool,
    arguments,
    clean,
    option,
    shared,
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
    """What -t prints; and of memory that is mapped, or is not any more, what Python keeps."""

    time: u64  #: when it was allocated, or since when it is free
    address: u64
    size: u64
    pid: u32
    program: u32
    cpu: u32
    freed: u8
    mapped: u8  #: by pages
    kept: u8  #: it is of a size that is wanted
    comm: char[16]
    stack: UserStack


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
        self.mappings = Mappings()
        self.turn = tracer.percpu_array(u64, 1)
        self.allocation = allocation
        if self.user:
            allocators = Allocators(tracer, options.obj, run.pid, options.symbols_prefix)
            allocators.attach(self._allocated(), self._freed(), self._mapped(), self._unmapped())
            EXEC.on(tracer)(self._executed())
        elif options.percpu:
            self._at_percpu()
        else:
            self._at_kernel()

    def _wanted(self) -> Callable[[int], bool]:
        options, turn = self.run.options, self.turn
        least, most, every = options.min_size, options.max_size, options.sample_rate

        def wanted(size: int) -> bool:
            if size < least or (most is not None and size > most):
                return False
            if every > 1:
                turn[0] += 1
                if turn[0] % every:
                    return False
            return True

        return wanted

    def _allocated(self) -> Callable[[int, int], None]:
        options = self.run.options
        allocations, known, fresh, sums, steps = self.allocations, self.known, self.fresh, self.sums, self.steps
        programs, allocation, user = self.programs, self.allocation, self.user
        combined, told = options.combined_only, options.trace
        wanted, remove = self._wanted(), self._removing()

        def allocated(address: int, size: int) -> None:
            if not wanted(size):
                return
            if told:
                steps.emit(time=ktime_ns(), address=address, size=size, pid=pid(), cpu=cpu(), freed=0, comm=comm())
            stack = user_stack() if user else kernel_stack()
            process = pid() if user else 0
            program = programs[process] if user else 0
            where = Where(address=address, pid=process, program=program)
            if combined:
                remove(where, ktime_ns())  # that it was freed was not seen
                entry = sums.setdefault((stack, program), Sum())
                if entry is not None:
                    entry.bytes += size
                    entry.count += 1
            allocations[where] = allocation(size=size, time=ktime_ns(), stack=stack)
            if user and stack not in known:
                known[stack] = 1
                fresh.emit(stack=stack)

        return allocated

    def _removing(self) -> Callable[[Any, int], None]:
        allocations, sums, steps = self.allocations, self.sums, self.steps
        combined, told = self.run.options.combined_only, self.run.options.trace

        def remove(where: Any, since: int) -> None:
            found = allocations.get(where)
            if found is None or found.time > since:
                return
            size, stack = found.size, found.stack
            if told:
                at = where.address
                steps.emit(time=ktime_ns(), address=at, size=size, pid=pid(), cpu=cpu(), freed=1, comm=comm())
            del allocations[where]
            if combined:
                entry = sums.get((stack, where.program))
                if entry is not None:
                    entry.bytes -= size
                    entry.count -= 1

        return remove

    def _freed(self) -> Callable[[int, int], None]:
        programs, user = self.programs, self.user
        remove = self._removing()

        def freed(address: int, since: int) -> None:
            process = pid() if user else 0
            remove(Where(address=address, pid=process, program=programs[process] if user else 0), since)

        return freed

    def _mapped(self) -> Callable[[int, int], None]:
        steps, programs, wanted = self.steps, self.programs, self._wanted()

        def mapped(address: int, size: int) -> None:
            steps.emit(time=ktime_ns(), address=address, size=size, pid=pid(), program=programs[pid()], cpu=cpu(),
                       freed=0, mapped=1, kept=wanted(size), comm=comm(), stack=user_stack())  # fmt: skip

        return mapped

    def _unmapped(self) -> Callable[[int, int, int], None]:
        steps, programs = self.steps, self.programs

        def unmapped(address: int, size: int, since: int) -> None:
            steps.emit(time=since, address=address, size=size, pid=pid(), program=programs[pid()], cpu=cpu(),
                       freed=1, mapped=1, comm=comm())  # fmt: skip

        return unmapped

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
            freed(args.ptr, ktime_ns())

        def free_pages(args: Any) -> None:
            freed(args.pfn, ktime_ns())

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
            freed(args.ptr, ktime_ns())

    def follow(self, step: Step) -> list[tuple[int, int]]:
        """Keep in mind what is mapped. :return: address and size of what is not any more."""
        space = step.pid, step.program
        gone = self.mappings.remove(space, step.address, step.size, step.time)
        if step.kept:
            self.mappings.add(space, step.address, step.size, step.time, step.stack)
        return gone

    def outstanding(self, older_ns: int) -> Iterator[Left]:
        """What was not given back and is so old."""
        programs = dict(self.programs.items())
        newest = time.monotonic_ns() - older_ns
        yield from self._mappings(programs, newest)
        for where, each in self.allocations.items():
            if where.program != programs.get(where.pid, 0):  # execve(2) has given it back
                self.allocations.pop(where, None)
            elif each.time <= newest:
                yield Left(where.address, each.size, 1, each.stack)

    def _mappings(self, programs: Mapping[int, int], newest: int) -> Iterator[Left]:
        seen: set[int] = set()
        for space, piece in self.mappings:
            if space[1] != programs.get(space[0], 0):
                self.mappings.forget(space)
            elif piece.time <= newest:
                yield Left(piece.start, piece.end - piece.start, int(piece.number not in seen), piece.stack)
                seen.add(piece.number)

    def combined(self) -> Iterator[Left]:
        """With --combined-only: what was not given back, by stack, however old."""
        programs = dict(self.programs.items())
        yield from self._mappings(programs, time.monotonic_ns())
        for key, each in self.sums.items():
            stack, program = tuple(key)
            if each.count > 0 and program == programs.get(getattr(stack, "pid", 0), 0):
                yield Left(0, each.bytes, each.count, stack)


def ended(process: int) -> bool:
    """Whether a process has ended; also one that is only still to be waited for."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def print_step(step: Step, tracing: Tracing, report: LeakReport) -> None:
    """The lines of -t."""
    for address, size in tracing.follow(step) if step.mapped else ():
        report.step(step, True, address, size)
    if not step.mapped or step.kept:
        report.step(step, bool(step.freed), step.address, step.size)


def trace(run: Run) -> None:
    """A report every interval, and a last one."""
    options = run.options
    tracing = Tracing(run)
    report = LeakReport(run, tracing.user)
    combined: bool = options.combined_only
    if run.child.pid:
        run.say(f"Executing '{clean(' '.join(run.child.command))}' and tracing the resulting process.")
    run.say(f"Attaching to {f'pid {run.pid}' if tracing.user else 'kernel allocators'}, Ctrl+C to quit.")
    run.start(tracing.tracer)
    if options.trace:
        run.deliver({tracing.steps: lambda step: print_step(step, tracing, report)})
        return

    def print_report(older_ns: int) -> None:
        report.print(tracing.outstanding(older_ns), tracing.combined() if combined else None)

    def interval() -> None:
        print_report(options.older * 1_000_000)
        if report.reports == options.count:
            run.stop()

    def keep(step: Step) -> None:
        tracing.follow(step)
        if step.kept:
            report.frames(step.stack)

    run.deliver({tracing.fresh: lambda new: report.frames(new.stack), tracing.steps: keep}, options.interval, interval)
    if report.reports != options.count:  # of a process that has ended what is young counts, too
        print_report(0 if run.pid is not None and ended(run.pid) else options.older * 1_000_000)
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
