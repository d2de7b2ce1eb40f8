"""``Allocators``: the functions by which a process gets memory and gives it back, of any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pybpf.errors import NotFoundError
from pybpf.lang import ktime_ns, read_user, register, tid
from pybpf.tool.places import FirstOf
from pybpf.types import Struct, s32, u32, u64

if TYPE_CHECKING:
    from pybpf.lang import Tracer

__all__ = ["THREAD_ENDS", "Allocators"]

F = TypeVar("F", bound=Callable[..., Any])

THREAD_ENDS = FirstOf(
    "tracepoint:sched:sched_process_exit", "raw_tracepoint:sched_process_exit", what="threads that end"
)
_ENTRIES = (
    "malloc", "calloc", "realloc", "mmap", "mremap", "posix_memalign", "valloc", "memalign", "pvalloc", "aligned_alloc",
)  # fmt: skip
_FREES = ("free", "munmap")
#: results from here on are errors of mmap
_ERRORS = (1 << 64) - 4095
#: between the stack pointer at the begin of a function and at its return there is the return address, or nothing
_RETURN_ADDRESS = 8
#: how many threads can be inside of an allocator at once
_THREADS = 10240


class Call(Struct):
    """The allocator that a thread is in."""

    sp: u64  #: stack pointer
    size: u64
    old: u64  #: what realloc or mremap moves
    before: u64  #: of mremap, how much of it
    maps: u64  #: whether it is mmap or mremap
    into: u64  #: where posix_memalign puts the address
    time: u64


class Allocators:
    """Probes at the allocators that a program or library has::

        def allocated(address: int, size: int) -> None:           # in the probe, at the return of an allocator
            sizes[comm()].add(size)

        Allocators(tracer, "c", run.pid).attach(allocated)

    What an allocator calls in turn (``malloc`` calls ``mmap``) is part of it, and not an allocation of its own.

    :param tracer: with the filters.
    :param binary: a path, or the name of a program or library: ``"c"`` is the C library.
    :param pid: the process that has it.
    :param prefix: of the names, such as ``"je_"``.
    :ivar names: those that it has.
    :raises NotFoundError: it has none.
    """

    def __init__(self, tracer: Tracer, binary: str = "c", pid: int | None = None, prefix: str = "") -> None:
        from pybpf.symbols import ElfFile, find_binary

        self._tracer = tracer
        self._prefix = prefix
        self.path = find_binary(binary, pid).path
        known = {prefix + name for name in (*_ENTRIES, *_FREES)}
        with ElfFile(self.path) as elf:
            self.names = {f.name[len(prefix) :] for f in elf.functions(f"{prefix}*") if f.name in known}
        if not self.names & set(_ENTRIES):
            names = ", ".join(prefix + name for name in _ENTRIES)
            raise NotFoundError(f"{self.path} has no allocator: none of {names}")
        self._calls = tracer.hash(u32, Call, max_entries=_THREADS)

    def attach(
        self,
        allocated: Callable[[int, int], None],
        freed: Callable[[int, int], None] | None = None,
        mapped: Callable[[int, int], None] | None = None,
        unmapped: Callable[[int, int, int], None] | None = None,
    ) -> None:
        """Let functions run in the kernel.

        :param allocated: is given the address and the size that was asked for, when the allocator returns; the
            registers and the stack are those of its caller.
        :param freed: is given an address, and since when (``ktime_ns()``) it is free: what was allocated there later
            is something else.
        :param mapped: in the place of ``allocated`` for mmap and mremap: what they give may have been given before, and
            may be given back in parts.
        :param unmapped: is given address and size of what is mapped no more, and since when.
        """
        calls = self._calls

        def begin(size: int, old: int, into: int, before: int, maps: int) -> None:
            outer = calls.get(tid())
            if outer is None or register("sp") >= outer.sp:  # else it is called by another one; the stack grows down
                calls[tid()] = Call(sp=register("sp"), size=size, old=old, into=into, before=before, maps=maps,
                                    time=ktime_ns())  # fmt: skip

        def end(ret: u64) -> None:
            call = calls.get(tid())
            if call is None or register("sp") - call.sp > _RETURN_ADDRESS:
                return
            into = call.into
            address: u64 = ret
            if into:  # posix_memalign
                address = read_user(into, u64) if s32(ret) == 0 else 0  # type: ignore[assignment]
            if address >= _ERRORS:
                address = 0  # type: ignore[assignment]
            size, old, time, moved = call.size, call.old, call.time, ret < _ERRORS
            before, maps = call.before, call.maps
            del calls[tid()]
            if maps and mapped is not None:
                if unmapped is not None and old and address:
                    unmapped(old, before, time)
                if address:
                    mapped(address, size)
                return
            if freed is not None and old and moved and (address or not size):  # realloc(p, 0) frees
                freed(old, time)
            if address:
                allocated(address, size)

        def ends() -> None:
            del calls[tid()]

        self._at_entries(begin)
        names = self._there(*_ENTRIES)
        self._tracer.uretprobe(self.path, names)(end)
        if freed is not None:
            self._at_free(freed)
        if unmapped is not None:
            self._at_munmap(unmapped)
        THREAD_ENDS.on(self._tracer)(ends)

    def _there(self, *names: str) -> list[str]:
        return [self._prefix + name for name in names if name in self.names]

    def _at(self, *names: str) -> Callable[[F], F]:
        """Attaches a function to those of the names that there are."""
        there = self._there(*names)
        return self._tracer.uprobe(self.path, there) if there else lambda function: function

    def _at_entries(self, begin: Callable[[int, int, int, int, int], None]) -> None:
        @self._at("malloc", "valloc", "pvalloc")
        def one(size: u64) -> None:
            begin(size, 0, 0, 0, 0)

        @self._at("memalign", "aligned_alloc")
        def second(alignment: u64, size: u64) -> None:
            begin(size, 0, 0, 0, 0)

        @self._at("mmap")
        def mmap(address: u64, size: u64) -> None:
            begin(size, 0, 0, 0, 1)

        @self._at("calloc")
        def calloc(count: u64, size: u64) -> None:
            begin(count * size, 0, 0, 0, 0)

        @self._at("realloc")
        def realloc(old: u64, size: u64) -> None:
            begin(size, old, 0, 0, 0)

        @self._at("mremap")
        def mremap(old: u64, before: u64, size: u64) -> None:
            begin(size, old, 0, before, 1)

        @self._at("posix_memalign")
        def posix_memalign(into: u64, alignment: u64, size: u64) -> None:
            begin(size, 0, into, 0, 0)

    def _at_free(self, freed: Callable[[int, int], None]) -> None:
        @self._at("free")
        def free(address: u64) -> None:
            if address:
                freed(address, ktime_ns())

    def _at_munmap(self, unmapped: Callable[[int, int, int], None]) -> None:
        @self._at("munmap")
        def munmap(address: u64, size: u64) -> None:
            unmapped(address, size, ktime_ns())
