"""A series of values by intervals of time, as numbers and as the graph that bpftrace draws."""

from __future__ import annotations

import struct
import time

from pybpf.record import dataclass

__all__ = ["TimeSeries"]

_SINGLE = struct.Struct("f")
_SECOND = 10**9
#: Nanoseconds that an interval is a multiple of -> how the header calls the digits behind the second; how many.
_UNITS = ((_SECOND, "", 0), (10**6, ".ms", 3), (10**3, ".us", 6), (1, ".ns", 9))
_WIDTH = 53
_LEFT = 21


def _single(value: float) -> float:
    """``value`` rounded to a C ``float``, in which bpftrace computes."""
    number: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    return number


@dataclass(frozen=True)
class TimeSeries:
    """Values by interval.

    :ivar interval: nanoseconds that each lasts.
    :ivar points: pairs of when an interval began, nanoseconds since 1970, and its value; None: nothing came in it.
    """

    interval: int
    points: tuple[tuple[int, int | None], ...]

    @property
    def values(self) -> tuple[int | None, ...]:
        """The values alone."""
        return tuple(value for _, value in self.points)

    def to_list(self) -> list[dict[str, object]]:
        """What there is, as JSON has it."""
        return [{"interval_start": self._moment(start, "%Y-%m-%d %H:%M:%S.", 9), "value": value}
                for start, value in self.points if value is not None]  # fmt: skip

    @staticmethod
    def _moment(start: int, layout: str, digits: int) -> str:
        whole, part = divmod(start, _SECOND)
        return time.strftime(layout, time.localtime(whole)) + f"{part:09}"[:digits]

    def text(self) -> str:
        """The graph: a row for each interval, between the smallest and the largest value."""
        known = [value for value in self.values if value is not None]
        if not known:
            return "<no data>"
        low, high = min(known), max(known)
        if low == high:
            low, high = low - 1, high + 1
        _, unit, digits = next(each for each in _UNITS if self.interval % each[0] == 0)
        layout = "%H:%M:%S" + ("." if digits else "")
        indent = len("hh:mm:ss") + (digits + 1 if digits else 0) + 1
        ends = f"{'':{indent}}{low:<{_LEFT}}{high:>{_WIDTH - _LEFT}}"
        line = "_" * (_WIDTH - 2)
        rows = [ends, f"{'hh:mm:ss' + unit:<{indent}}|{line}|"]
        for start, value in self.points:
            rows.append(f"{self._moment(start, layout, digits)} {_row(value, low, high)}")
        return "\n".join([*rows, f"{'':{indent}}v{line}v", ends])

    def __str__(self) -> str:
        return self.text()


def _row(value: int | None, low: int, high: int) -> str:
    cells = list(f"|{'':{_WIDTH - 2}}|")
    if low < 0 < high:
        cells[int(_single(_single(_WIDTH * _single(-low)) / _single(high - low)))] = "."
    if value is None:
        return "".join(cells) + " -"
    place = int(_single(_single((_WIDTH - 1) * _single(value - low)) / _single(high - low)))
    cells[max(0, min(_WIDTH - 1, place))] = "*"
    return f"{''.join(cells)} {value}"
