"""The buffer of one CPU that ``perf_event_output`` writes to: a perf event of type BPF_OUTPUT and its memory."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
from typing import Any

from pybpf.errors import BpfError
from pybpf.maps.decode import NOTHING
from pybpf.maps.events import CHUNK, Source, Take
from pybpf.maps.fence import Fence
from pybpf.maps.runs import PERF_SKIP, perf_runs, stride
from pybpf.record import NamedTuple
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd
from pybpf.sys.perf import AttrFlag, Ioctl, PerfType, Software, perf_event_open, perf_ioctl

__all__ = ["CpuBuffer", "OverwriteBuffer", "Settings"]

_SAMPLE_RAW = 0x400
# read_format: read(2) on the event gives u64 value, u64 time_enabled and, since Linux 6.0, u64 lost.
_TIME_ENABLED, _COUNT_LOST = 1 << 0, 1 << 4
#: seconds by which two clocks may differ
_UNSEEN = 0.05
#: struct perf_event_mmap_page: u64 data_head, data_tail, data_offset, data_size
_CONTROL = 1024
_HEAD, _TAIL, _DATA_OFFSET, _DATA_SIZE = range(4)


class Settings(NamedTuple):
    """How the buffers of a reader are made."""

    size: int  #: bytes of data
    wakeup: int  #: events or bytes
    flags: int  #: of :class:`~pybpf.sys.perf.AttrFlag`

    @classmethod
    def checked(cls, size: int, wakeup: int, watermark: int | None) -> Settings:
        """Values that the kernel takes. :raises BpfError: there are none."""
        if not 0 < size <= 1 << 30:
            raise BpfError(f"cannot make perf buffers of {size} bytes: the size is 1 byte to 1 GiB")
        pages = -(-size // mmap.PAGESIZE)
        size = mmap.PAGESIZE << (pages - 1).bit_length()
        if watermark is None:
            if not 0 < wakeup < 1 << 32:
                raise BpfError(f"cannot wake the reader of a perf buffer after {wakeup} events")
            return cls(size, wakeup, 0)
        if not 0 < watermark < size:
            raise BpfError(f"cannot wake the reader of a perf buffer of {size} bytes after {watermark} bytes")
        return cls(size, watermark, AttrFlag.WATERMARK)


class CpuBuffer(Source):
    """A perf buffer that drops new events while it is full.

    :ivar event: the perf event, for the map.
    :ivar what: what it is called in messages.
    """

    _flags = 0
    _protection = mmap.PROT_READ | mmap.PROT_WRITE

    def __init__(self, cpu: int, settings: Settings, what: str) -> None:
        self.what = what
        self.turns = settings.size // CHUNK + 1
        self._fence = Fence()
        self.event = self._open(cpu, settings)
        try:
            self._memory = self._map(settings.size)
            control = memoryview(self._memory)
            self._control = control[_CONTROL : _CONTROL + 32].cast("Q")
            start, self.size = self._control[_DATA_OFFSET], self._control[_DATA_SIZE]
            self._data = control[start : start + self.size]
            self._views = [self._control, self._data, control]
        except BaseException:
            self.event.close()
            raise
        self.taken = NOTHING, 0, 0
        self._look = self._look_at_event()

    def _open(self, cpu: int, settings: Settings) -> Fd:
        values: dict[str, Any] = {
            "type": PerfType.SOFTWARE,
            "config": Software.BPF_OUTPUT,
            "sample_type": _SAMPLE_RAW,
            "sample_period": 1,
            "wakeup_events": settings.wakeup,
            "flags": settings.flags | self._flags,
        }
        with explaining(f"open {self.what}", "perf_event"):
            try:
                self._counts_lost = True
                return perf_event_open(cpu=cpu, what=self.what, read_format=_TIME_ENABLED | _COUNT_LOST, **values)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            self._counts_lost = False
            return perf_event_open(cpu=cpu, what=self.what, read_format=_TIME_ENABLED, **values)

    def _map(self, size: int) -> mmap.mmap:
        with explaining(f"map the memory of {self.what}", "perf_mmap"):
            return mmap.mmap(self.event.fileno(), mmap.PAGESIZE + size, mmap.MAP_SHARED, self._protection)

    def fill(self, decoder: Take) -> bool:
        _, position, lost = self.taken
        self._control[_TAIL] = position  # once more: an interrupt may have come between taking and telling the kernel
        there = self._control[_HEAD] - position
        if there == 0:
            return False
        if not 0 < there <= self.size:
            raise BpfError(
                f"cannot read {self.what}: {there} of {self.size} bytes are said to be used; something wrote to its "
                "memory"
            )
        self._fence()
        data = self._copy(position, min(there, CHUNK))
        self._fence()  # the memory is given back after it is read
        scan = perf_runs(data, complete=len(data) == there)
        self.taken = decoder(data, scan.runs), position + scan.end, lost + scan.lost
        self._control[_TAIL] = self.taken[1]
        return True

    def _copy(self, position: int, size: int) -> bytes:
        start = position & (self.size - 1)
        first = bytes(self._data[start : start + size])
        return first + self._data[: size - len(first)] if len(first) < size else first

    def _read(self) -> tuple[int, ...]:
        """The event's counters. :return: value, time_enabled, lost (or nothing: the event is in an error state)"""
        with explaining(f"read the counters of {self.what}", "event_reader"):
            data = os.read(self.event.fileno(), 24)
        return struct.unpack(f"={len(data) // 8}Q", data)

    def _look_at_event(self) -> tuple[float, float, float]:
        """For how many seconds the event has been on; in front and behind, the time before and after asking."""
        before = time.monotonic()
        return before, (*self._read(), 0, 0)[1] / 1e9, time.monotonic()

    def alive(self) -> bool:
        """Whether the event was on all the time since the last call: the kernel switches it off with its CPU, for ever.

        What was off for less than :data:`_UNSEEN` may be told by the next call only.
        """
        (_, was_on, start), self._look = self._look, self._look_at_event()
        end, is_on, _ = self._look
        return end - start - (is_on - was_on) < _UNSEEN

    def lost(self) -> int:
        """How many samples found no room."""
        return (*self._read(), 0, 0, 0)[2] if self._counts_lost else self.taken[2]

    def close(self) -> None:
        self.event.close()
        for view in self._views:
            view.release()
        self._memory.close()


class OverwriteBuffer(CpuBuffer):
    """A perf buffer in which new events overwrite the oldest ones: written from its end to its beginning."""

    _flags = AttrFlag.WRITE_BACKWARD
    _protection = mmap.PROT_READ  # which makes the kernel overwrite

    def __init__(self, cpu: int, settings: Settings, what: str) -> None:
        super().__init__(cpu, settings, what)
        self.turns = 1

    def fill(self, decoder: Take) -> bool:
        _, position, lost = self.taken
        with explaining(f"pause {self.what}", "event_reader"):
            perf_ioctl(self.event, Ioctl.PAUSE_OUTPUT, 1)
            try:
                head = self._control[_HEAD]  # counts down
                self._fence()
                written = (position - head) % (1 << 64)
                data = self._copy(head, min(written, self.size))
                self._fence()
                # The pause stops those who begin to write; who had begun has overwritten the oldest events.
                overwritten = (head - self._control[_HEAD]) % (1 << 64)
            finally:
                perf_ioctl(self.event, Ioctl.PAUSE_OUTPUT, 0)
        if not written:
            return False
        data = data[: max(self.size - overwritten, 0)]
        # Newest first; the oldest may be cut off.
        scan = perf_runs(data, complete=written == len(data))
        oldest_first = [
            (offset + i * stride(PERF_SKIP, size), 1, size)
            for offset, count, size in reversed(scan.runs)
            for i in reversed(range(count))
        ]
        self.taken = decoder(data, oldest_first), head, lost + scan.lost
        return True
