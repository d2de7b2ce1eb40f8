"""Count hits and misses of the page cache, at intervals."""

from __future__ import annotations

import resource
from typing import Any

from pybpf import Struct, Tracer, u32, u64
from pybpf.lang import enum, has_field, kernel_ptr, tid
from pybpf.tool import Column, FirstOf, Run, Tool, option, shared, undisturbed

ACCESSED = FirstOf(
    "tp_btf:mm_filemap_get_pages", "fentry:folio_mark_accessed", "kprobe:folio_mark_accessed",
    "kprobe:mark_page_accessed", what="pages that are looked up in the cache",
)  # fmt: skip
FAULTED = FirstOf(
    "tp_btf:mm_filemap_fault", "tracepoint:filemap:mm_filemap_fault", optional=True, what="page faults on files"
)
MANY = "tracepoint:filemap:mm_filemap_add_to_page_cache(order)"  # of a folio, which may be of several pages
ONE = "tracepoint:filemap:mm_filemap_add_to_page_cache"
TYPED = "tp_btf:mm_filemap_add_to_page_cache(folio)"  # for who may not read tracefs
ADDED = FirstOf(MANY, ONE, TYPED, what="pages that come into the cache")
DIRTIED = FirstOf(
    "tp_btf:writeback_dirty_folio", "tp_btf:writeback_dirty_page", "tracepoint:writeback:writeback_dirty_folio",
    "tracepoint:writeback:writeback_dirty_page", what="pages that are written to",
)  # fmt: skip
BUFFERS = FirstOf(
    "tp_btf:block_dirty_buffer", "tracepoint:block:block_dirty_buffer", optional=True,
    what="buffers that are written to",
)  # fmt: skip

MAX_ENTRIES = 10240
PAGE = resource.getpagesize()
#: what is counted; the second but for what is brought in to be written to, the last but for what is marked so
ACCESSES, ADDITIONS, WRITTEN, DIRTY, DIRTY_BUFFERS = range(5)
Mapping: Any = kernel_ptr("struct address_space")


class Read(Struct):
    """What a thread has read last: pages of a file, from and to."""

    mapping: u64
    index: u64
    end: u64


def trace(run: Run) -> None:
    """A row per interval."""
    options = run.options
    tracer = run.tracer()
    counts = tracer.sum(u32, u64)
    # pages that a thread has brought in, until it is known what for
    fresh = tracer.lru_hash(u32, u32, max_entries=MAX_ENTRIES)
    if ACCESSED.choose().startswith("tp_btf"):
        by_reads(tracer, counts, fresh)
    else:
        by_marks(tracer, counts, fresh)
    changes(tracer, counts, fresh)
    run.start(tracer)
    rows = run.rows(columns(run))
    rows.header()
    for when in run.intervals(options.interval or 1, options.count):
        with undisturbed():
            found = counts.changes()
        buffers, cached = memory()
        rows.write(Report(when, found, buffers, cached))


def by_reads(tracer: Tracer, counts: Any, fresh: Any) -> None:
    """Pages that are looked up by reads and page faults."""
    reads = tracer.lru_hash(u32, Read, max_entries=MAX_ENTRIES)

    @ACCESSED.on(tracer)
    def looked_up(mapping: Mapping, index: u64, last_index: u64) -> None:
        fresh.pop(tid())
        end = last_index + 1
        size = (u64(mapping.host.i_size) + PAGE - 1) // PAGE
        if end > size:  # who reads may ask for more than there is
            end = size
        before = reads.get(tid())
        # what one call reads comes in parts, each up to the end of what it wants
        goes_on = before is not None and before.mapping == u64(mapping) and before.end == end and before.index < index
        if not goes_on and index < end:
            counts[ACCESSES].add(end - index)
        reads[tid()] = Read(mapping=u64(mapping), index=index, end=end)

    @FAULTED.on(tracer)
    def faulted() -> None:
        counts[ACCESSES].add(1)


def by_marks(tracer: Tracer, counts: Any, fresh: Any) -> None:
    """Pages that are marked as used; writing to buffers marks them, too."""

    @ACCESSED.on(tracer)
    def marked() -> None:
        fresh.pop(tid())
        counts[ACCESSES].add(1)

    @BUFFERS.on(tracer)
    def buffer_dirtied() -> None:
        counts[DIRTY_BUFFERS].add(1)


def changes(tracer: Tracer, counts: Any, fresh: Any) -> None:
    """Pages that come in, and pages that are written to."""

    def come(pages: int) -> None:
        counts[ADDITIONS].add(pages)
        fresh[tid()] = pages

    @ADDED.on(tracer, MANY)
    def many_added(args: Any) -> None:
        come(1 << args.order)

    @ADDED.on(tracer, ONE)
    def one_added() -> None:
        come(1)

    @ADDED.on(tracer, TYPED)
    def folio_added(folio: Any) -> None:
        come(pages_of(folio))

    @DIRTIED.on(tracer)
    def dirtied() -> None:
        counts[DIRTY].add(1)
        pages = fresh.pop(tid())
        if pages is not None:  # brought in to be written to: that is no miss
            counts[WRITTEN].add(pages)


def pages_of(folio: Any) -> int:
    """In a probe: how many pages a folio has."""
    flags = folio.flags.f if has_field("struct folio", "flags.f") else folio.flags  # 6.18
    if not flags >> enum("PG_head") & 1:
        return 1
    return u32(folio._nr_pages if has_field("struct folio", "_nr_pages") else folio._folio_nr_pages)  # 6.14


class Report:
    """An interval."""

    def __init__(self, when: float, found: dict[int, int], buffers: int, cached: int) -> None:
        total = max(found.get(ACCESSES, 0) - found.get(DIRTY_BUFFERS, 0), 0)
        self.when = when
        # pages may be brought in that nobody has asked for yet
        self.misses = min(max(found.get(ADDITIONS, 0) - found.get(WRITTEN, 0), 0), total)
        self.hits = total - self.misses
        self.dirties = found.get(DIRTY, 0)
        self.ratio = self.hits / total if total else 0.0
        self.buffers, self.cached = buffers, cached


def columns(run: Run) -> list[Column]:
    """Those of BCC's cachestat."""
    return [
        Column("TIME", "%-8s ", "time", lambda row: round(row.when, 3), run.options.timestamp,
               lambda row: run.clock.now(when=row.when)),
        Column("HITS", "%8d ", "hits", lambda row: row.hits),
        Column("MISSES", "%8d ", "misses", lambda row: row.misses),
        Column("DIRTIES", "%8d ", "dirties", lambda row: row.dirties),
        Column("HITRATIO", "%8s ", "hit_ratio", lambda row: row.ratio, True, lambda row: f"{row.ratio:.2%}"),
        Column("BUFFERS_MB", "%12d ", "buffers_bytes", lambda row: row.buffers, True, lambda row: row.buffers >> 20),
        Column("CACHED_MB", "%10d", "cached_bytes", lambda row: row.cached, True, lambda row: row.cached >> 20),
    ]  # fmt: skip


def memory() -> tuple[int, int]:
    """Bytes of buffers, and of the cache, of the whole machine."""
    with open("/proc/meminfo", encoding="ascii") as file:
        found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in file)}
    return found["Buffers"], found["Cached"]


TOOL = Tool(
    name="cachestat",
    topic="Files and disks",
    summary="count hits and misses of the page cache",
    trace=trace,
    probes=(ACCESSED, FAULTED, ADDED, DIRTIED, BUFFERS),
    options=(
        option("-T", "--timestamp", action="store_true", help="print the time of each report"),
        *shared("who every count duration command exec rows"),
    ),
    examples=(
        ("", "every second, until Ctrl-C"),
        ("-T 5 12", "every five seconds, for a minute, with the time"),
        ("-p 181", "what process 181 itself reads and writes"),
    ),
    notes="""\
Pages of files, not bytes. MISSES are pages that come into the cache, by reading ahead too, but for those that come to
be written to; HITS are the rest of those that are looked up: by reads and page faults where the kernel has
mm_filemap_get_pages (Linux 6.12), otherwise by all that marks pages as used, of a folio once. DIRTIES are pages, or
folios, that were clean and are written to. The last two columns are of the whole machine.""",
)
main = TOOL.main
