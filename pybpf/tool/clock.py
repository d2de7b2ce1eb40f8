"""``Clock``: the kernel's time, ``ktime_ns()``, as people read it; and columns of times."""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from pybpf.tool.columns import Column

__all__ = ["Clock"]

_SECOND = 1_000_000_000


class Clock:
    """Turns times of events, nanoseconds of the monotonic clock, into others."""

    def __init__(self) -> None:
        self.begin = time.monotonic_ns()
        self._offset = time.time_ns() - self.begin
        self._first: int | None = None

    def unix(self, ns: int) -> float:
        """Seconds since 1970, to the microsecond."""
        return round((ns + self._offset) / _SECOND, 6)

    def text(self, ns: int) -> str:
        """``"12:34:56"``, local time."""
        return time.strftime("%H:%M:%S", time.localtime((ns + self._offset) // _SECOND))

    def text_ms(self, ns: int, utc: bool = False) -> str:
        """``"12:34:56.789"``."""
        whole = ns + self._offset
        at = time.gmtime if utc else time.localtime
        return time.strftime("%H:%M:%S", at(whole // _SECOND)) + f".{whole % _SECOND // 1_000_000:03d}"

    @staticmethod
    def zone(utc: bool = False) -> str:
        """The name of the time zone."""
        return "UTC" if utc else time.strftime("%Z")

    @staticmethod
    def now(format: str = "%H:%M:%S", when: float | None = None) -> str:
        """The time of day now, or at a time of ``time.time()``, by strftime."""
        return time.strftime(format, time.localtime(when))

    def since_begin(self, ns: int) -> float:
        """Seconds since the tool began."""
        return (ns - self.begin) / _SECOND

    def since_first(self, ns: int) -> float:
        """Seconds since the first event that this was asked for."""
        if self._first is None:
            self._first = ns
        return (ns - self._first) / _SECOND

    # columns; rows have the time as ``time``, or as ``of`` says

    def wall(self, format: str = "%-9s", title: str = "TIME", shown: Any = True,
             of: Callable[[Any], int] = attrgetter("time")) -> Column:  # fmt: skip
        """A column of the time of day; in JSON and CSV ``time``, seconds since 1970."""
        return Column(title, format, "time", lambda row: self.unix(of(row)), shown, lambda row: self.text(of(row)))

    def offset(self, format: str = "%-9.3f", title: str = "TIME(s)", shown: Any = True, first: bool = False,
               of: Callable[[Any], int] = attrgetter("time")) -> Column:  # fmt: skip
        """A column of seconds since the beginning, or since the first row; in JSON and CSV ``offset_s``."""
        since = self.since_first if first else self.since_begin
        return Column(title, format, "offset_s", lambda row: since(of(row)), shown)
