"""Show what sizes of memory processes allocate, and who asks for the most."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pybpf import Struct, char, u8, u32
from pybpf.arch import host_arch
from pybpf.lang import UserAddress, comm, pid, register, user_symbol
from pybpf.report import Stats
from pybpf.tool import (
    THREAD_ENDS,
    Allocators,
    HeatMaps,
    Run,
    Tool,
    arguments,
    clean,
    frame_text,
    option,
    shared,
    undisturbed,
)

#: callers that are told apart, and buckets of sizes, of all processes together
CALLERS, BUCKETS = 16384, 32768


class Process(Struct):
    """Who allocates."""

    pid: u32
    comm: char[16]


class Caller(Struct):
    """The call of an allocator."""

    at: UserAddress
    comm: char[16]


class NewCaller(Struct):
    """A call that was not seen before: its name is looked up while its process is there."""

    at: UserAddress


def trace(run: Run) -> None:
    """The probe, and a report per interval."""
    options = run.options
    tracer = run.tracer()
    sizes = tracer.histogram(key=Process, max_entries=BUCKETS, double_buffered=run.repeats)
    callers = tracer.stats(Caller, max_entries=CALLERS, double_buffered=run.repeats)
    least: int = options.min_size
    known = tracer.lru_hash(UserAddress, u8, CALLERS)
    fresh = tracer.events(NewCaller)
    ip = host_arch().ip

    def allocated(address: int, size: int) -> None:
        if size < least:
            return
        sizes[Process(pid=pid(), comm=comm())].add(size)
        at = user_symbol(register(ip) - 1)  # the call, not what comes behind it
        callers[Caller(at=at, comm=comm())].add(size)
        if at not in known:
            known[at] = 1
            fresh.emit(at=at)

    Allocators(tracer, options.obj, run.pid, options.symbols_prefix).attach(allocated)
    names = Names()
    maps = HeatMaps(run, "bytes")
    reports = 0

    def print_report() -> None:
        nonlocal reports
        reports += 1
        with undisturbed():
            histograms, stats = sizes.changes(), callers.changes()
        maps.add(time.time(), {f"{process.comm} [{process.pid}]": each for process, each in histograms.items()})
        report(run, histograms, names.by_function(stats))
        if reports == options.count:
            run.stop()

    run.say("Tracing allocations... Hit Ctrl-C to end.")
    run.start(tracer)
    run.deliver({fresh: lambda event: names.of(event.at)}, maps.interval(options.interval), print_report)
    if reports != options.count:
        print_report()
    maps.save()


class Names:
    """What calls are in, as long as it is known."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def of(self, at: UserAddress) -> str:
        """The function of a call."""
        key = at.pid, at.address
        found = self._known.get(key)
        if found is None:
            symbol = at.symbol
            found = frame_text(symbol, offset=False)
            if symbol.module:  # else what is mapped there is not known yet: asked again
                self._known[key] = found
        return found

    def by_function(self, stats: Mapping[Any, Stats]) -> dict[tuple[int, str], dict[str, Stats]]:
        """Process -> function that called allocators -> what it asked for."""
        found: dict[tuple[int, str], dict[str, Stats]] = {}
        for caller, added in stats.items():
            functions = found.setdefault((caller.at.pid, caller.comm), {})
            name = self.of(caller.at)
            functions[name] = functions[name] + added if name in functions else added
        return found


def report(run: Run, histograms: Mapping[Any, Any], callers: Mapping[tuple[int, str], Mapping[str, Stats]]) -> None:
    """One interval: for each process the sizes, and who asked for the most bytes."""
    output, options, when = run.output, run.options, time.time()
    if output.form == "text":
        output.line(run.clock.now("[%H:%M:%S]", when))
    for process, sizes in sorted(histograms.items(), key=lambda item: item[0].pid):
        functions = callers.get((process.pid, process.comm), {})
        top = sorted(functions.items(), key=lambda item: item[1].total, reverse=True)[: options.top]
        total = sum(added.total for added in functions.values())
        if output.form == "json":
            output.object({
                "time": round(when, 3), "pid": process.pid, "comm": process.comm, "count": sizes.count, "bytes": total,
                "sizes": sizes.to_dict(),
                "callers": [{"function": name, "count": n.count, "bytes": n.total} for name, n in top],
            })  # fmt: skip
            continue
        output.line()
        output.line(f"pid = {process.pid} {clean(process.comm)}, {sizes.count} allocations, {total} bytes")
        output.histogram(sizes, "bytes")
        output.line(f"{'BYTES':>12} {'COUNT':>8} {'AVG':>8} CALLER")
        for name, added in top:
            output.line(f"{added.total:>12} {added.count:>8} {added.average:>8} {name}")


TOOL = Tool(
    name="mallocsize",
    topic="Memory",
    summary="show what sizes of memory processes allocate, and who asks",
    trace=trace,
    probes=(
        "uprobes of malloc, calloc, realloc, mmap, mremap, posix_memalign, valloc, memalign, pvalloc, aligned_alloc",
        THREAD_ENDS,
    ),
    options=(
        option("-z", "--min-size", type=arguments.size, default=0, metavar="BYTES",
               help="only allocations of at least this size"),
        option("-O", "--obj", default="c", metavar="FILE", help="a program or library that has the allocators"),
        option("--symbols-prefix", default="", metavar="TEXT", help="of the allocators' names, as je_"),
        *shared("top=-T", default=10, help="print the first N callers of each process"),
        *shared("who every count ends json heatmap"),
    ),
    examples=(
        ("-p 181", "sizes and callers in process 181, until Ctrl-C"),
        ("--comm nginx 5 12", "of all that have this name, every 5 seconds, a minute long"),
        ("-z 1048576 -c 'ls -R'", "large ones of a command"),
    ),
    notes="""\
Sizes are what was asked for. What an allocator calls in turn (malloc calls mmap) does not count by itself.""",
)  # fmt: skip
main = TOOL.main
