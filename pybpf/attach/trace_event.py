"""Probe events in tracefs: how kernels before 4.17, or without sysfs, make a perf event of a kprobe or uprobe."""

from __future__ import annotations

import os

from pybpf.errors import NotFoundError
from pybpf.sys.tracefs import Tracefs, tracefs

__all__ = ["TraceEvent"]


class TraceEvent:
    """A line of ``kprobe_events`` or ``uprobe_events``, removed by :meth:`close`.

    It outlives a process that is killed, so it is used only where there is no other way. Its group is named after the
    process, ``pybpf_PID``.

    :param file: ``"kprobe_events"`` or ``"uprobe_events"``.
    :param kind: ``"p"``, or ``"r"`` for a probe at function return.
    :param place: what the line says after the name: ``"tcp_connect+4"``, ``"/bin/sh:0x1234"``.
    :ivar id: the number of the trace event, for ``config`` of perf_event_open(2) with ``PerfType.TRACEPOINT``.
    :raises KernelError: the kernel refuses the place, or this process may not use tracefs.
    """

    def __init__(self, file: str, kind: str, place: str) -> None:
        self._file = file
        self._name = f"pybpf_{os.getpid()}/e{os.urandom(6).hex()}"
        self._exists = False
        with tracefs() as directory:
            directory.append(file, f"{kind}:{self._name} {place}\n")
            self._exists = True
            try:
                self.id = int(directory.read(f"events/{self._name}/id"))
            except BaseException:
                self._remove(directory)
                raise

    def _remove(self, directory: Tracefs) -> None:
        directory.append(self._file, f"-:{self._name}\n")

    def close(self) -> None:
        """Remove the event; its perf event must be closed before. A second call does nothing.

        :raises KernelError: it is still in use, or this process may not use tracefs any more.
        """
        if not self._exists:
            return
        self._exists = False
        with tracefs() as directory:
            try:
                self._remove(directory)
            except NotFoundError:  # somebody emptied the list
                return
