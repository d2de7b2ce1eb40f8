"""``HeatMap``: histograms over time as one HTML file: a column for each interval, a row for each bucket, dark for many.

The file loads nothing from elsewhere. Where there are more intervals than columns can be told apart, neighbours are
added up, so that a map of days takes no more memory than one of minutes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from html import escape

from pybpf.record import NamedTuple
from pybpf.report.heatscript import SCRIPT, STYLE
from pybpf.report.histogram import Histogram
from pybpf.report.text import printable

__all__ = ["HeatMap"]

#: columns of a map, of which neighbours are joined when there are more
MOST_COLUMNS = 480
#: pixels of the picture: its width, what is left of the map and right of it; a row; the bars of totals; the time axis
WIDTH, LEFT, RIGHT, ROW, TOTALS, AXIS = 1200, 96, 16, 18, 44, 26
#: the widest cell, and the least distance of two times on the axis
WIDEST, TICK = 60, 110
#: colours from few to many, as classes of the style sheet
SHADES = 10
#: steps of the time axis, in seconds
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
#: units of time that histograms are of, as BCC names them -> nanoseconds
_TIMES = {"nsecs": 1, "usecs": 1_000, "msecs": 1_000_000, "secs": 1_000_000_000}
_NAMES = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


class _Column(NamedTuple):
    """An interval, or some that are joined; times as of ``time.time()``."""

    start: float
    end: float
    histograms: dict[str, Histogram]  #: by name of the map

    def joined(self, later: _Column) -> _Column:
        both = dict(self.histograms)
        for name, each in later.histograms.items():
            both[name] = both[name] + each if name in both else each
        return _Column(self.start, later.end, both)


class HeatMap:
    """Histograms of intervals that follow each other; of several things, as disks, a map for each.

    :param title: stands above it.
    :param unit: of what was counted, as BCC names it, or ``""``: ``nsecs``, ``usecs``, ``msecs`` and ``secs`` become
        what fits each value.
    """

    def __init__(self, title: str, unit: str) -> None:
        self.title = title
        self.unit = unit
        self._columns: list[_Column] = []

    def add(self, start: float, end: float, histograms: Mapping[str, Histogram]) -> None:
        """Add an interval.

        :param start: when it began; ``end``: and ended, seconds since 1970.
        :param histograms: what was counted in it; by what it is about, ``""`` where there is one only.
        :raises ValueError: histograms of one name count different ranges.
        """
        self._columns.append(_Column(start, end, dict(histograms)))
        if len(self._columns) > MOST_COLUMNS:
            pairs = zip(self._columns[::2], self._columns[1::2])
            odd = self._columns[-1:] if len(self._columns) % 2 else []
            self._columns = [*(first.joined(second) for first, second in pairs), *odd]

    def html(self) -> str:
        """The text of the file."""
        names = sorted({name for column in self._columns for name, each in column.histograms.items() if each.counts})
        title = escape(printable(self.title))
        lines = [
            '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>",
        ]
        if not names:
            lines.append('<p class="note">Nothing was counted.</p>')
        for name in names:
            lines += _Map(name, self.unit, self._columns).lines()
        lines.append(f"<script>{SCRIPT}</script>\n</body></html>\n")
        return "\n".join(lines)


class _Map:
    """One map: its measures."""

    def __init__(self, name: str, unit: str, columns: list[_Column]) -> None:
        self.name, self.unit, self.columns = name, unit, columns
        self.found = [column.histograms.get(name) for column in columns]
        some = [each for each in self.found if each is not None and each.counts]
        self.bounds = some[0].bounds
        self.low, self.high = min(min(each.counts) for each in some), max(max(each.counts) for each in some)
        self.most = max(max(each.counts.values()) for each in some)
        self.totals = [each.count if each is not None else 0 for each in self.found]
        self.total = sum(self.totals)
        self.cell = min((WIDTH - LEFT - RIGHT) / len(columns), WIDEST)
        self.top, self.bottom = TOTALS, TOTALS + (self.high - self.low + 1) * ROW

    def lines(self) -> Iterator[str]:
        if self.name:
            yield f"<h2>{escape(printable(self.name))}</h2>"
        seconds = self.columns[0].end - self.columns[0].start
        each = f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
        values = "values" if self.unit in _TIMES or not self.unit else f"values ({escape(printable(self.unit))})"
        yield (
            f'<p class="note">{self.total:,} {values} from {_clock(self.columns[0].start, 1)} to '
            f"{_clock(self.columns[-1].end, 1)}; a column is {each}</p>"
        )
        yield f'<p class="details" aria-live="polite">{"".join(self._legend())}</p>'
        height = self.bottom + AXIS
        yield f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="heat map">'
        yield from self._totals()
        yield from self._rows()
        yield from self._cells()
        yield from self._times()
        yield "</svg>"

    def _legend(self) -> Iterator[str]:
        """Which colour is how many."""
        yield '<span class="legend">few'
        for shade in range(SHADES):
            low, high = self._of_shade(shade), self._of_shade(shade + 1) - 1
            if high >= low:
                text = f"{low:,}" if low == high else f"{low:,} to {high:,}"
                yield f'<i class="c{shade}" title="{text}"></i>'
        yield f'many (up to {self.most:,} in a cell)</span><span class="cell"></span>'

    def _shade(self, count: int) -> int:
        """The colour of a cell: by the logarithm of its count, so that few are seen beside many."""
        return min(int(SHADES * math.log(count) / math.log(self.most + 1)), SHADES - 1)

    def _of_shade(self, shade: int) -> int:
        """The least count that has this colour, or a darker one."""
        guess = max(int((self.most + 1) ** (shade / SHADES)), 1)
        while guess <= self.most and self._shade(guess) < shade:
            guess += 1
        return guess

    def _x(self, index: float) -> float:
        return LEFT + index * self.cell

    def _y(self, bucket: int) -> int:
        return self.bottom - (bucket - self.low + 1) * ROW

    def _totals(self) -> Iterator[str]:
        """Bars above the map: how many values each interval has."""
        most = max(self.totals)
        yield f'<text class="axis" x="{LEFT - 8}" y="14" text-anchor="end">{most:,}</text>'
        right = self._x(len(self.columns))
        yield f'<line class="grid" x1="{LEFT}" x2="{right:.1f}" y1="{TOTALS - 6}" y2="{TOTALS - 6}"/>'
        for index, count in enumerate(self.totals):
            if count:
                tall = max((TOTALS - 14) * count / most, 1)
                yield (
                    f'<rect class="bar" x="{self._x(index):.2f}" y="{TOTALS - 6 - tall:.1f}" '
                    f'width="{self.cell:.2f}" height="{tall:.1f}"/>'
                )

    def _rows(self) -> Iterator[str]:
        """The lines between the buckets, and where each begins."""
        right = self._x(len(self.columns))
        for bucket in range(self.low, self.high + 2):
            y = self._y(bucket) + ROW
            yield f'<line class="grid" x1="{LEFT}" x2="{right:.1f}" y1="{y}" y2="{y}"/>'
            low = self.bounds(bucket)[0] if bucket <= self.high else self.bounds(self.high)[1]
            if low is not None:
                yield f'<text class="axis" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{self._value(low)}</text>'

    def _cells(self) -> Iterator[str]:
        for index, (column, histogram) in enumerate(zip(self.columns, self.found)):
            seconds = column.end - column.start
            span = f"{_clock(column.start, seconds)} to {_clock(column.end, seconds)}"
            for bucket, count in (histogram.counts if histogram is not None else {}).items():
                of = f"{count:,} of {self.totals[index]:,} ({count / self.totals[index]:.1%})"
                text = f"{span}, {self._range(bucket)}: {of}"
                yield (
                    f'<rect class="c c{self._shade(count)}" x="{self._x(index):.2f}" y="{self._y(bucket)}" '
                    f'width="{self.cell:.2f}" height="{ROW}" data-text="{escape(text)}"/>'
                )

    def _times(self) -> Iterator[str]:
        """The time axis."""
        start, end = self.columns[0].start, self.columns[-1].end
        wide = self.cell * len(self.columns)
        per_second = wide / max(end - start, 1e-3)
        step = next((step for step in STEPS if step * per_second >= TICK), STEPS[-1])
        offset = time.localtime(start).tm_gmtoff
        tick = math.ceil((start + offset) / step) * step - offset
        while tick <= end:
            x = LEFT + (tick - start) * per_second
            yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{self.bottom}" y2="{self.bottom + 5}"/>'
            text = _clock(tick, step)
            yield f'<text class="axis" x="{x:.1f}" y="{self.bottom + 19}" text-anchor="middle">{text}</text>'
            tick += step

    def _value(self, number: int) -> str:
        """A bound, in a unit that fits."""
        if self.unit not in _TIMES:
            return f"{number:,}"
        ns = number * _TIMES[self.unit]
        least = abs(ns) or _TIMES[self.unit]
        size, name = next(each for each in _NAMES if least >= each[0])
        return f"{ns / size:.3g} {name}" if least < 1000 * size else f"{ns / size:,.0f} {name}"

    def _range(self, bucket: int) -> str:
        low, high = self.bounds(bucket)
        unit = "" if self.unit in _TIMES or not self.unit else f" {printable(self.unit)}"
        if high is None:
            return f"{self._value(low or 0)} and more{unit}"
        if low is None:
            return f"less than {self._value(high)}{unit}"
        return f"{self._value(low)}{unit}" if high == low + 1 else f"{self._value(low)} to {self._value(high)}{unit}"


def _clock(when: float, step: float) -> str:
    """The local time of day, as precise as a step of so many seconds wants it."""
    text = time.strftime("%H:%M:%S", time.localtime(when))
    digits = 0 if step >= 1 else min(math.ceil(-math.log10(step)), 3)
    return text + (f"{when % 1:.{digits}f}"[1:] if digits else "")
