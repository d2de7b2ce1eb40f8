"""Reads a BPF ring buffer (Linux 5.8): one for all CPUs, its events in the order in which they were reserved."""

from __future__ import annotations

import mmap
import select
from collections.abc import Callable
from typing import Any, TypeVar, overload

from pybpf.errors import BpfError
from pybpf.maps.decode import NOTHING, Decoder
from pybpf.maps.events import CHUNK, EventReader, MapLike, Source, Take, open_map
from pybpf.maps.fence import Fence
from pybpf.maps.runs import RING_SKIP, ring_runs
from pybpf.sys.bpf import MapType
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd

__all__ = ["Ring", "RingBufferReader"]

T = TypeVar("T")


class RingBufferReader(EventReader[T]):
    """Reads the events of a ``BPF_MAP_TYPE_RINGBUF`` map::

        with RingBufferReader(ring, Open) as reader:
            for event in reader:
                print(event.pid, event.path)

    A ring buffer has one reader. It keeps its own descriptor of the map, which may be closed before it.

    The kernel does not count what finds no room: the program is told so (``ringbuf_output`` returns an error,
    ``ringbuf_reserve`` returns NULL) and has to count it, by convention in an element of an array map; hand a function
    that reads that count as ``lost_counter``. When a waiting reader is woken is the program's choice too
    (``BPF_RB_NO_WAKEUP``, ``BPF_RB_FORCE_WAKEUP``); :meth:`poll` and iteration find the other events within a second.

    A record that a program has reserved and not yet submitted holds back those behind it.

    :param ring: the map, or its descriptor.
    :param kind: type of the events; or a function that makes one of the bytes of a record; or None: the bytes.
    :param lost_counter: returns how many events the program could not send; without it ``lost`` is None.
    :raises BpfError: the map is not a ring buffer.
    :raises KernelError: its memory cannot be mapped.
    """

    @overload
    def __init__(
        self: RingBufferReader[bytes],
        ring: MapLike,
        kind: None = None,
        *,
        lost_counter: Callable[[], int] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self, ring: MapLike, kind: type[T] | Callable[[bytes], T], *, lost_counter: Callable[[], int] | None = None
    ) -> None: ...

    def __init__(self, ring: MapLike, kind: Any = None, *, lost_counter: Callable[[], int] | None = None) -> None:
        decoder: Decoder[T] = Decoder(kind, RING_SKIP)
        own, info = open_map(ring, MapType.RINGBUF, type(self).__name__)
        super().__init__(own, info.name, decoder, lost_counter)
        try:
            with explaining(f"map the memory of ring buffer {info.name!r}", "ring_mmap"):
                self._sources = [Ring(own, info.max_entries)]
            self._epoll.register(own.fileno(), select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def _kernel_lost(self) -> None:
        return None


class Ring(Source):
    """The memory of a ring buffer: a page for the consumer, a page for the producer, the data twice in a row."""

    def __init__(self, fd: Fd, size: int) -> None:
        self.size = size
        self.turns = size // CHUNK + 1
        self._fence = Fence()
        page = mmap.PAGESIZE
        self._maps = [mmap.mmap(fd.fileno(), page)]
        try:
            self._maps.append(mmap.mmap(fd.fileno(), page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page))
        except BaseException:
            self._maps[0].close()
            raise
        own, kernels = (memoryview(memory) for memory in self._maps)
        self._data = kernels[page:]
        self._words = self._data.cast("I")
        self._consumer, self._producer = own[:8].cast("Q"), kernels[:8].cast("Q")
        self._views = [self._words, self._consumer, self._producer, self._data, own, kernels]
        self.taken = NOTHING, self._consumer[0], 0

    def fill(self, decoder: Take) -> bool:
        position = self.taken[1]
        self._consumer[0] = position  # once more: an interrupt may have come between taking and telling the kernel
        there = self._producer[0] - position
        if not 0 <= there <= self.size:
            raise BpfError(
                f"cannot read ring buffer: {there} of {self.size} bytes are said to be used; it has a second reader, "
                "or something wrote to its memory"
            )
        self._fence()
        start = position & (self.size - 1)
        runs, stop = ring_runs(self._words, start, start + there, CHUNK)
        self.stalled = there > 0 and stop == start
        if stop == start:
            return False
        self._fence()  # a record is read after the header that says that it is finished
        data = bytes(self._data[start:stop])
        self._fence()  # and its memory is given back after that
        self.taken = decoder(data, runs), position + stop - start, 0
        self._consumer[0] = self.taken[1]
        return True

    def close(self) -> None:
        for view in self._views:
            view.release()
        for memory in self._maps:
            memory.close()
