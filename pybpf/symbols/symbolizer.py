"""Stacks to symbols, for the kernel and any number of processes, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock

from pybpf.errors import BpfError
from pybpf.symbols.cache import ByteCache
from pybpf.symbols.images import Images
from pybpf.symbols.kernel import KernelSymbols
from pybpf.symbols.process import DEFAULT_BYTES, ProcessSymbols
from pybpf.symbols.symbol import UNKNOWN, Symbol

__all__ = ["Symbolizer"]

#: of the memory for users: the rest is for the symbols of files
_PROCESSES_PART = 4


class Symbolizer:
    """Names for addresses. Missing names are no error; threads may share one.

    Processes share the symbols of the files that they run. What was not used for the longest time is forgotten when
    all takes more than ``max_bytes``, and read again when it is needed.

    :param max_bytes: of memory for user space; the kernel's functions take some 5 MB more once they are asked for.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        part = max_bytes // _PROCESSES_PART
        self._images = Images(max_bytes - part)
        self._processes: ByteCache[int, ProcessSymbols] = ByteCache(part)
        self._kernel = KernelSymbols()
        self._lock = RLock()

    @property
    def nbytes(self) -> int:
        """About how many bytes of memory user space takes now."""
        return self._images.nbytes + self._processes.nbytes

    @property
    def kernel_reason(self) -> str:
        """Why kernel addresses have no names; ``""`` when they have."""
        with self._lock:
            return self._kernel.reason

    def kernel(self, addresses: Iterable[int], *, stack: bool = False) -> list[Symbol]:
        """The kernel functions at addresses.

        :param stack: they are a stack, innermost first. All but the first are return addresses then, and the call
            before them counts: the next function can begin right behind it.
        """
        with self._lock:
            return self._kernel.resolve_all(addresses, stack=stack)

    def user(self, pid: int, addresses: Iterable[int], *, stack: bool = False) -> list[Symbol]:
        """The functions of a process at addresses; see :meth:`user_reason` when all are unknown.

        :param stack: as for :meth:`kernel`.
        """
        with self._lock:
            process = self._process(pid)
            if process is None:
                return [Symbol(UNKNOWN, address, "", "", address, 0) for address in addresses]
            found = process.resolve_all(addresses, stack=stack)
            self._processes.put(pid, process, process.nbytes)
            return found

    def user_reason(self, pid: int) -> str:
        """Why nothing of a process has a name: it has ended or may not be looked at; ``""`` when it can be."""
        with self._lock:
            try:
                if self._processes.get(pid) is None:
                    ProcessSymbols(pid, self._images)
            except BpfError as error:
                return str(error)
            return ""

    def watch(self, pid: int, *, load: bool = False) -> bool:
        """Remember what a process has mapped now, for when it has ended; False when it is not there any more.

        :param load: read the symbols of all its files too. Otherwise they are read when needed, and those of deleted
            files and of other mount namespaces cannot be had once the process has ended. See
            :meth:`ProcessSymbols.load`.
        """
        with self._lock:
            process = self._processes.get(pid)
            if process is not None:
                process.refresh()
            else:
                process = self._process(pid)
            if process is None:
                return False
            if load:
                process.load()
            self._processes.put(pid, process, process.nbytes)
            return True

    def _process(self, pid: int) -> ProcessSymbols | None:
        process = self._processes.get(pid)
        if process is None:
            try:
                process = ProcessSymbols(pid, self._images)
            except BpfError:
                return None
        return process
