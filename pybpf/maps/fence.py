"""A memory fence in pure Python: orders the loads and stores around it on processors that do not do so themselves."""

from __future__ import annotations

from threading import Lock

from pybpf.arch import host_arch

__all__ = ["Fence"]


class Fence:
    """Calling it lets no load pass to before it and no store to before the loads in front of it.

    CPython has no fence, but giving back a held lock is a store-release and taking it again a load-acquire, which
    ARMv8 (LDAR after STLR), RISC-V and Power keep in order: together a full fence, in about 100 ns. On processors
    that keep loads in order (x86-64) it does nothing. Each owner has its own and calls it from one thread at a time.
    """

    __slots__ = ("_lock",)

    def __init__(self, ordered: bool | None = None) -> None:
        """:param ordered: whether the processor keeps loads in order; the host's when not given."""
        ordered = host_arch().ordered_loads if ordered is None else ordered
        self._lock = None if ordered else Lock()

    def __call__(self) -> None:
        lock = self._lock
        if lock is not None:
            lock.acquire(blocking=False)  # already held, but for the first call and after an interrupt in here
            lock.release()
            lock.acquire()
