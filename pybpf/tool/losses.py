"""``Losses``: what a tool could not see, said on stderr as it grows and at the end."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybpf.lang import Tracer

__all__ = ["Losses"]

#: seconds between two reports
_APART = 1.0


class Losses:
    """Watches the counters of a tracer.

    :param name: of the tool.
    """

    def __init__(self, name: str, tracer: Tracer) -> None:
        self.name = name
        self._tracer = tracer
        self._said: dict[str, int] = {}
        self._next = 0.0
        self._missed: int | None = None

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(self._counts().values())

    def _counts(self) -> dict[str, int]:
        missed = self._tracer.missed if self._missed is None else self._missed
        return {
            "events lost, because they came faster than they were read": self._tracer.lost,
            "values not kept, because a map was full": self._tracer.dropped,
            "hits missed, because the probe was running already": missed,
            "loops cut, because they took more turns than the kernel grants": self._tracer.cut,
        }

    def last(self) -> None:
        """The tracer is going to be detached: what its probes missed cannot be asked for afterwards."""
        self._missed = self._tracer.missed

    def look(self, final: bool = False) -> None:
        """Say what has grown; not more often than every second, but ``final``."""
        now = time.monotonic()
        if now < self._next and not final:
            return
        self._next = now + _APART
        for what, count in self._counts().items():
            before = self._said.get(what, 0)
            if count > before:
                self._said[what] = count
                more = f" ({count - before} more)" if before else ""
                print(f"{self.name}: {count} {what}{more}", file=sys.stderr, flush=True)
