"""Whoever reads the events of probes while they are timed: without one a ring is full soon, and refusing is quicker."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

__all__ = ["Consumer"]

#: seconds after which it looks whether it is to end
_TICK = 0.05


class _Readable(Protocol):
    def poll(self, timeout: float | None = None) -> list[Any]: ...


class Consumer:
    """Reads each source in a thread of its own, from ``with`` to its end, as a tracer that prints would.

    :ivar read: how many events came.
    """

    def __init__(self, sources: Sequence[_Readable]) -> None:
        self.read = 0
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._consume, args=(source,)) for source in sources]

    def _consume(self, source: _Readable) -> None:
        while not self._ending.is_set():
            self.read += len(source.poll(_TICK))

    def __enter__(self) -> Consumer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
