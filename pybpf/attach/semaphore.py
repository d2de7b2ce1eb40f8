"""The counter of listeners of a USDT probe, raised in one process; for kernels that do not do it (before 4.20)."""

from __future__ import annotations

import os
import struct

from pybpf.errors import NotFoundError
from pybpf.symbols import Binary, mappings
from pybpf.symbols.library import is_mapped
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd

__all__ = ["Semaphore", "semaphore_address"]

_COUNT = struct.Struct("=H")


def semaphore_address(pid: int, binary: Binary, offset: int) -> int:
    """Where the process has mapped the counter that is at ``offset`` of the file.

    :raises NotFoundError: there is no such process, or it has not mapped that part of the file.
    """
    for mapping in mappings(pid):
        address = mapping.start + offset - mapping.offset
        if mapping.writable and mapping.start <= address < mapping.end and is_mapped(pid, mapping, binary):
            return address
    raise NotFoundError(f"process {pid} has not mapped the counter of listeners of {binary.name}")


class Semaphore:
    """A counter that is one higher until :meth:`close`, or until its process ends.

    :param pid: the process.
    :param address: of the counter in its memory, see :func:`semaphore_address`.
    :raises KernelError: the memory cannot be written.
    """

    def __init__(self, pid: int, address: int) -> None:
        self.address = address
        action = f"raise the counter of listeners of process {pid}"
        try:
            # the descriptor stays with the process's memory: it cannot mean another process of the same number
            self._memory = Fd(os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC), f"memory of process {pid}")
        except FileNotFoundError:
            raise NotFoundError(f"there is no process {pid}") from None
        except OSError as error:
            raise explain(action, error, "ptrace") from None
        try:
            self._add(1)
        except OSError as error:
            self._memory.close()
            raise explain(action, error, "ptrace") from None

    def _add(self, step: int) -> None:
        fd = self._memory.fileno()
        data = os.pread(fd, _COUNT.size, self.address)
        if len(data) == _COUNT.size:  # shorter: the process has ended
            os.pwrite(fd, _COUNT.pack((_COUNT.unpack(data)[0] + step) & 0xFFFF), self.address)

    def close(self) -> None:
        """Lower the counter again; a second call does nothing."""
        if self._memory.closed:
            return
        with self._memory:
            try:
                self._add(-1)
            except OSError:  # the process has given the memory back
                return
