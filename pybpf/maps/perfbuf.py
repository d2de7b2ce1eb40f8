"""Reads a perf buffer (a perf event array): one buffer for each CPU that is online, on every kernel since 4.18."""

from __future__ import annotations

import errno
import select
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, overload

from pybpf.errors import BpfError, ClosedError, KernelError
from pybpf.maps.cpubuf import CpuBuffer, OverwriteBuffer, Settings
from pybpf.maps.decode import Decoder
from pybpf.maps.events import TICK, EventReader, MapLike, open_map
from pybpf.maps.runs import PERF_SKIP
from pybpf.sys.bpf import Cmd, MapType, bpf
from pybpf.sys.cpus import online_cpus
from pybpf.sys.explain import explaining

__all__ = ["PerfBufferReader"]

T = TypeVar("T")

#: bytes for each CPU when not told otherwise
SIZE = 256 * 1024


class PerfBufferReader(EventReader[T]):
    """Reads the events of a ``BPF_MAP_TYPE_PERF_EVENT_ARRAY`` map, which programs send by ``perf_event_output``
    with the flag ``BPF_F_CURRENT_CPU``.

    The events of one CPU come in order; between CPUs there is none. To restore it, put ``ktime_get_ns()`` into
    the event and sort by that.

    The kernel pads records, so that bytes (no ``kind``, or a function) can be up to 7 longer than what was sent,
    by undefined ones; a type takes from them what it needs.

    The kernel counts what found no room. On Linux 6.0 and newer :attr:`lost` is exact at any time; before, what was
    dropped is known once a later event of that CPU has been read. Not counted by the kernel: output on a CPU that came
    online within the last second and has no buffer yet, records over 64 KiB, and output nested more than three
    deep; a program that cares counts results of ``perf_event_output`` that are negative and not ``-ENOSPC``, and
    ``lost_counter`` reads that count.

    A map has one reader. It keeps its own descriptor of the map, which may be closed before it.

    :param events: the map, or its descriptor.
    :param kind: type of the events; or a function that makes one of the bytes of a record; or None: the bytes.
    :param size: bytes for each CPU, rounded up to a power of two of pages.
    :param wakeup: a waiting reader is woken when a CPU has sent this many events; :meth:`poll` and iteration find
        fewer within a second.
    :param watermark: wake by bytes instead.
    :param overwrite: keep the newest events instead of the oldest when there is no room, for a look back
        when something has happened; what was overwritten is not counted. Sending stops for the moment of reading,
        and counts as lost.
    :param lost_counter: returns how many events the program could not send.
    :raises BpfError: the map is not a perf event array, or has fewer elements than there are CPUs.
    :raises KernelError: a buffer cannot be opened, or its memory may not be mapped.
    """

    @overload
    def __init__(
        self: PerfBufferReader[bytes],
        events: MapLike,
        kind: None = None,
        *,
        size: int = SIZE,
        wakeup: int = 1,
        watermark: int | None = None,
        overwrite: bool = False,
        lost_counter: Callable[[], int] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        events: MapLike,
        kind: type[T] | Callable[[bytes], T],
        *,
        size: int = SIZE,
        wakeup: int = 1,
        watermark: int | None = None,
        overwrite: bool = False,
        lost_counter: Callable[[], int] | None = None,
    ) -> None: ...

    def __init__(
        self,
        events: MapLike,
        kind: Any = None,
        *,
        size: int = SIZE,
        wakeup: int = 1,
        watermark: int | None = None,
        overwrite: bool = False,
        lost_counter: Callable[[], int] | None = None,
    ) -> None:
        decoder: Decoder[T] = Decoder(kind, PERF_SKIP, unit=8)
        self._settings = Settings.checked(size, wakeup, watermark)
        self._buffer = OverwriteBuffer if overwrite else CpuBuffer
        self._buffers: dict[int, CpuBuffer] = {}  # those that programs write to, by CPU
        self._closed_lost = 0
        own, self._info = open_map(events, MapType.PERF_EVENT_ARRAY, type(self).__name__)
        super().__init__(own, self._info.name, decoder, lost_counter)
        self._next_look = 0.0
        try:
            self._refresh()
        except BaseException:
            self.close()
            raise

    def _kernel_lost(self) -> int:
        with self._lock:
            return self._closed_lost + sum(source.lost() for source in self._sources if isinstance(source, CpuBuffer))

    def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + TICK
        with explaining("find out which CPUs are online", "sysfs"):
            online = online_cpus()
        for cpu, buffer in list(self._buffers.items()):
            # A CPU that went and came back within a second left a buffer that the kernel has switched off.
            if cpu not in online or not buffer.alive():
                self._detach(cpu)
        for cpu in online:
            if cpu not in self._buffers:
                self._attach(cpu)

    def _attach(self, cpu: int) -> None:
        if cpu >= self._info.max_entries:
            raise BpfError(
                f"cannot read events from map {self.name!r}: it has {self._info.max_entries} elements, but CPU {cpu} "
                "needs one too; create it with one for each possible CPU"
            )
        try:
            buffer = self._buffer(cpu, self._settings, f"the perf buffer of CPU {cpu} for map {self.name!r}")
        except KernelError as error:
            if error.errno == errno.ENODEV:  # went offline meanwhile
                return
            raise
        try:
            with explaining(f"put {buffer.what} into the map", "map_elem"):
                key, value = struct.pack("=I", cpu), struct.pack("=I", buffer.event.fileno())
                bpf(Cmd.MAP_UPDATE_ELEM, map_fd=self._map.fileno(), key=key, value=value)
            self._epoll.register(buffer.event.fileno(), select.EPOLLIN)
        except BaseException:
            buffer.close()
            raise
        self._buffers[cpu] = buffer
        self._sources = [*self._sources, buffer]

    def _detach(self, cpu: int) -> None:
        """Let programs write to the buffer of ``cpu`` no more; what it holds is still delivered."""
        buffer = self._buffers.pop(cpu, None)
        if buffer is None:  # by a signal handler, meanwhile
            return
        with suppress(OSError, ValueError):  # closed by one
            self._epoll.unregister(buffer.event.fileno())
        # The map holds the event: without this the kernel would keep it, and programs would fill it.
        with suppress(OSError, ClosedError):
            bpf(Cmd.MAP_DELETE_ELEM, map_fd=self._map.fileno(), key=struct.pack("=I", cpu))

    def _hung_up(self, fd: int) -> None:
        with self._lock:
            for cpu, buffer in list(self._buffers.items()):
                if buffer.event.fileno() == fd:
                    self._detach(cpu)
                    self._next_look = 0.0

    def _swept(self) -> None:
        attached = self._buffers.values()
        for buffer in [source for source in self._sources if source not in attached]:
            self._drop(buffer)

    def _drop(self, buffer: Any) -> None:
        self._sources = [source for source in self._sources if source is not buffer]
        try:
            with suppress(ClosedError):  # by a signal handler, meanwhile
                self._closed_lost += buffer.lost()
        finally:
            buffer.close()

    def _silence(self) -> None:
        for cpu in list(self._buffers):
            self._detach(cpu)

    def _release(self) -> None:
        for buffer in self._sources:
            self._drop(buffer)
