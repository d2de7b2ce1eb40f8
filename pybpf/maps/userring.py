"""USER_RINGBUF: a ring buffer in the other direction, from this process to programs."""

from __future__ import annotations

import errno
import mmap
import struct
import threading
from typing import Any, ClassVar

from pybpf.errors import KernelError, PackError
from pybpf.maps.base import Map
from pybpf.maps.fence import Fence
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import MapFlags, MapType
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd
from pybpf.types import layout

__all__ = ["UserRingBuffer"]

_HEADER = struct.Struct("=II")  # length, with the bits for busy and discarded; always 0


class UserRingBuffer(Map):
    """Records for programs, which take them with ``bpf_user_ringbuf_drain`` (Linux 6.1).

    Threads may send at the same time, but not from signal handlers. There is one producer: a second process or
    object that sends to the same map mixes up the records.

    :param size: bytes, a power of two and at least a page; a record takes 8 more than its size, rounded up to 8.
    """

    map_type: ClassVar[MapType] = MapType.USER_RINGBUF

    def __init__(self, size: int, *, name: str = "", flags: MapFlags = NO_FLAGS, numa_node: int | None = None) -> None:
        self._create(MapSpec(self.map_type, max_entries=size, name=name, flags=flags, numa_node=numa_node))

    def _adopt(self, spec: MapSpec, fd: Fd) -> None:
        # What the kernel maps: the consumer's page, which only it writes, then the producer's page and the data
        # twice in a row, so that a record that reaches over the end lies in one piece.
        page, both = mmap.PAGESIZE, 2 * spec.max_entries
        with explaining(f"map {spec} into memory", "mmap"):
            taken = mmap.mmap(fd.fileno(), page, mmap.MAP_SHARED, mmap.PROT_READ)
            try:
                given = mmap.mmap(fd.fileno(), page + both, mmap.MAP_SHARED, offset=page)
            except OSError:
                taken.close()
                raise
        self._mappings = (taken, given)
        # Whole 64-bit loads and stores: the kernel reads and writes these positions at the same time.
        self._taken = memoryview(taken).cast("Q")
        self._given = memoryview(given)[: mmap.PAGESIZE].cast("Q")
        self._data = memoryview(given)[mmap.PAGESIZE :]
        self._lock = threading.Lock()
        self._fence = Fence()
        super()._adopt(spec, fd)

    @property
    def free(self) -> int:
        """Bytes for which there is room now; programs make more by draining."""
        self.fileno()
        return self.max_entries - (self._given[0] - self._taken[0])

    def send(self, record: Any) -> None:
        """Hand a record to the programs: bytes, or a value of a type of :mod:`pybpf.types`, such as a Struct's.

        :raises KernelError: there is no room (ENOSPC). ``fileno()`` polls writable when a program has made some.
        :raises PackError: it is neither, or larger than the buffer.
        """
        data = record if isinstance(record, (bytes, bytearray)) else _packed(record)
        size = len(data)
        total = _HEADER.size + size + -size % 8
        if total > self.max_entries:
            raise PackError(f"cannot send {size} bytes to {self.spec}: it holds {self.max_entries}")
        with self._lock:
            if total > self.free:
                advice = "make it larger, or have the program drain it more often"
                raise KernelError(f"send {size} bytes to {self.spec}", errno.ENOSPC, "there is no room", advice)
            position = self._given[0]
            start = position & (self.max_entries - 1)
            self._fence()  # what the program has read may be overwritten only now
            _HEADER.pack_into(self._data, start, size, 0)
            self._data[start + _HEADER.size : start + _HEADER.size + size] = data
            self._fence()  # the record is complete before it is announced
            self._given[0] = position + total

    def close(self) -> None:
        with self._lock:
            super().close()
            for view in (self._taken, self._given, self._data):
                view.release()
            for mapping in self._mappings:
                mapping.close()


def _packed(value: Any) -> bytes:
    if isinstance(value, memoryview):  # of any items: what counts are its bytes
        return value.tobytes()
    try:
        kind = layout(type(value))
    except TypeError:
        raise PackError(f"cannot send {value!r}: neither bytes nor a value of a pybpf type") from None
    return kind.pack(value)
