"""Histograms: counts of values by power of two, or by equal steps, as numbers and as text."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pybpf.errors import PackError
from pybpf.record import dataclass, replace
from pybpf.report.bars import bcc_linear, bcc_log2, bpftrace_rows
from pybpf.report.text import check_look, printable

__all__ = ["Histogram", "LinearHistogram", "Log2Histogram"]

_H = TypeVar("_H", bound="Histogram")

#: sub-buckets of a power of two: at most 2**5, as in bpftrace
MOST_BITS = 5
#: steps of a linear histogram: as many as bpftrace allows
MOST_STEPS = 1000
_UNITS = ("", "K", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Histogram(ABC):
    """Counts by bucket: what both kinds of histogram can do.

    Values are integers. A bucket holds those from ``low`` to below ``high``; the first and the last may have no bound
    on one side. Adding two histograms merges them (of several CPUs or keys); subtracting an earlier one from a later
    one gives the interval between them.

    :ivar counts: how many values fell into each bucket, by bucket number; empty buckets are left out.
    """

    counts: Mapping[int, int]

    def __post_init__(self) -> None:
        last = self._last
        for bucket, count in self.counts.items():
            if not 0 <= bucket <= last:
                raise ValueError(f"there is no bucket {bucket}: {self._shape()} has 0 to {last}")
            if count < 0:
                raise ValueError(f"bucket {bucket} has a negative count, {count}")
        counts = {bucket: count for bucket, count in sorted(self.counts.items()) if count}
        object.__setattr__(self, "counts", counts)

    @property
    @abstractmethod
    def _last(self) -> int:
        """The highest bucket number."""

    @abstractmethod
    def bucket_of(self, value: int) -> int:
        """The number of the bucket that ``value`` is counted in; programs in the kernel compute the same."""

    @abstractmethod
    def bounds(self, bucket: int) -> tuple[int | None, int | None]:
        """The lowest value of a bucket and the first above it; ``None`` where there is no bound."""

    @abstractmethod
    def _shape(self) -> str:
        """How the histogram was made, for messages."""

    @abstractmethod
    def _edge(self, number: int) -> str:
        """A bound as bpftrace writes it."""

    @abstractmethod
    def _bcc(self, unit: str, width: int | None) -> str:
        """The text that BCC prints."""

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def buckets(self) -> list[tuple[int | None, int | None, int]]:
        """(low, high, count) of each bucket from the first to the last that is not empty; ``high`` is not in it."""
        return [(*self.bounds(bucket), self.counts.get(bucket, 0)) for bucket in self._span()]

    def percentile(self, p: float) -> float:
        """The value that ``p`` per cent of the values do not exceed, or NaN when nothing was counted.

        Inside a bucket the values are taken to be spread evenly from its lowest to its highest integer (linear
        interpolation): a bucket of a single value gives that value. In a bucket without a bound on one side, every
        value is taken to be at the other bound.

        :param p: 0 to 100; 50 is the median.
        :raises PackError: ``p`` is outside of that, or no number. It is a ValueError, too.
        """
        if not isinstance(p, (int, float)) or not 0 <= p <= 100:
            raise PackError(f"a percentile is between 0 and 100, not {p!r:.60}")
        rank = min(self.count * p / 100, self.count)
        before = 0
        for bucket, count in self.counts.items():
            if before + count >= rank:
                return self._within(bucket, max(rank - before, 0) / count)
            before += count
        return math.nan

    def _within(self, bucket: int, part: float) -> float:
        low, high = self.bounds(bucket)
        if low is None or high is None:
            return float(low if low is not None else (high or 0) - 1)
        return low + (high - 1 - low) * part

    def to_dict(self) -> dict[str, Any]:
        """``{"count": 3, "buckets": [{"min": 4, "max": 7, "count": 3}]}``, ready for JSON.

        Both ends of a bucket are in it; a bucket without a bound lacks that key. bpftrace's JSON is the same.
        """
        rows: list[dict[str, int]] = []
        for low, high, count in self.buckets():
            row = {} if low is None else {"min": low}
            if high is not None:
                row["max"] = high - 1
            rows.append({**row, "count": count})
        return {"count": self.count, "buckets": rows}

    def __add__(self: _H, other: _H) -> _H:
        return self._combine(other, 1) if isinstance(other, Histogram) else NotImplemented

    def __sub__(self: _H, earlier: _H) -> _H:
        """What was counted since ``earlier``.

        :raises ValueError: a count went down: the map was cleared in between, or the two are the wrong way round.
        """
        return self._combine(earlier, -1) if isinstance(earlier, Histogram) else NotImplemented

    def _combine(self: _H, other: _H, sign: int) -> _H:
        if self._shape() != other._shape():
            raise ValueError(f"{self._shape()} and {other._shape()} count different ranges")
        both = sorted({*self.counts, *other.counts})
        return replace(self, counts={b: self.counts.get(b, 0) + sign * other.counts.get(b, 0) for b in both})

    def __str__(self) -> str:
        return self.text()

    def text(self, style: str = "bpftrace", unit: str = "value", width: int | None = None) -> str:
        """Rows with bars, without a newline at the end; ``""`` when nothing was counted.

        :param style: ``"bpftrace"`` or ``"bcc"``.
        :param unit: what was counted, such as ``"usecs"``: a column's title in BCC's style.
        :param width: the length of the longest bar; by default as the tool has it.
        :raises PackError: one of them is something else. It is a ValueError, too.
        """
        check_look(style, unit, width)
        if style == "bcc":
            return self._bcc(printable(unit), width)
        rows = [(self._label(bucket), self.counts.get(bucket, 0)) for bucket in self._span()]
        return bpftrace_rows(rows, width or 52)

    def _span(self) -> range:
        return range(min(self.counts), max(self.counts) + 1) if self.counts else range(0)

    def _label(self, bucket: int) -> str:
        low, high = self.bounds(bucket)
        if low is None or high is None:
            return f"[{self._edge(low)}, ...)" if low is not None else f"(..., {self._edge(high or 0)})"
        return f"[{self._edge(low)}, {self._edge(high)})"


@dataclass(frozen=True)
class Log2Histogram(Histogram):
    """Counts by powers of two, for values from -2**63 to 2**64 - 1.

    Bucket 0 is for negative values, 1 for zero, and ``2 + k`` for ``2**k`` to ``2**(k + 1) - 1``. With ``bits``, every
    power of two is split into ``2**bits`` equal buckets, as by bpftrace's ``hist(n, bits)``; values below
    ``2**(bits + 1)`` then have a bucket each.
    """

    bits: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= MOST_BITS:
            raise ValueError(f"bits are 0 to {MOST_BITS}, not {self.bits}")
        super().__post_init__()

    @property
    def _last(self) -> int:
        return ((64 - self.bits) << self.bits) + (1 << self.bits)

    def bucket_of(self, value: int) -> int:
        if value < 0:
            return 0
        if value < 1 << self.bits:
            return value + 1
        log = value.bit_length() - 1
        # the leading one of the shifted value counts as one more power
        return ((log - self.bits) << self.bits) + (value >> (log - self.bits)) + 1

    def bounds(self, bucket: int) -> tuple[int | None, int | None]:
        return (None, 0) if bucket <= 0 else (self._start(bucket), self._start(bucket + 1))

    def _start(self, bucket: int) -> int:
        power, within = divmod(bucket - 1, 1 << self.bits)
        return within if power == 0 else (within + (1 << self.bits)) << (power - 1)

    def _shape(self) -> str:
        return f"a log2 histogram with bits={self.bits}"

    def _edge(self, number: int) -> str:
        # bpftrace scales by the size of the bucket that starts there: with bits=2, 2048 stays, 4096 becomes 4K
        thousands = max(number.bit_length() - 1 - self.bits, 0) // 10
        return f"{number >> 10 * thousands}{_UNITS[thousands]}"

    def _label(self, bucket: int) -> str:
        low, high = self.bounds(bucket)
        return f"[{low}]" if low is not None and high == low + 1 else super()._label(bucket)

    def _bcc(self, unit: str, width: int | None) -> str:
        """BCC joins 0 and 1, starts there, and has no row for negative values: here it comes first, if needed."""
        slots: dict[int, int] = {}
        for bucket, count in self.counts.items():
            if bucket:
                slot = max(self._start(bucket).bit_length(), 1)
                slots[slot] = slots.get(slot, 0) + count
        last = max(slots, default=0)
        rows = [("...", "-1", self.counts[0])] if 0 in self.counts else []
        for slot in range(1, last + 1):
            low = 1 << (slot - 1) if slot > 1 else 0
            rows.append((str(low), str((1 << slot) - 1), slots.get(slot, 0)))
        return bcc_log2(rows, unit, last > 32, width)


@dataclass(frozen=True)
class LinearHistogram(Histogram):
    """Counts in steps of equal size.

    Bucket 0 is for values below ``lo``; ``1 + i`` for ``lo + i*step`` and up to the next; the last for ``hi`` and
    above. Where ``step`` does not divide the range, the bucket that ends at ``hi`` is smaller.
    """

    lo: int
    hi: int
    step: int

    def __post_init__(self) -> None:
        if self.step < 1:
            raise ValueError(f"a step is at least 1, not {self.step}")
        if self.hi <= self.lo:
            raise ValueError(f"hi ({self.hi}) must be above lo ({self.lo})")
        if self._last - 1 > MOST_STEPS:
            raise ValueError(f"{self._last - 1} steps are too many (at most {MOST_STEPS}): choose a larger step")
        super().__post_init__()

    @property
    def _last(self) -> int:
        return 1 + -(-(self.hi - self.lo) // self.step)

    def bucket_of(self, value: int) -> int:
        if value < self.lo:
            return 0
        return self._last if value >= self.hi else 1 + (value - self.lo) // self.step

    def bounds(self, bucket: int) -> tuple[int | None, int | None]:
        if bucket <= 0:
            return None, self.lo
        if bucket >= self._last:
            return self.hi, None
        low = self.lo + (bucket - 1) * self.step
        return low, min(low + self.step, self.hi)

    def _shape(self) -> str:
        return f"a linear histogram from {self.lo} to {self.hi} by {self.step}"

    def _edge(self, number: int) -> str:
        if self.step % 1024 or number == 0 or number % 1024:
            return str(number)
        return f"{number >> 20}M" if number % (1 << 20) == 0 else f"{number >> 10}K"

    def _bcc(self, unit: str, width: int | None) -> str:
        """BCC's linear histograms start at bucket 0, which is ``lo`` here; values outside get a row of their own."""
        return bcc_linear(list(self._bcc_rows()), unit, width or 40)

    def _bcc_rows(self) -> Iterator[tuple[str, int]]:
        for bucket in range(0 if 0 in self.counts else 1, self._span().stop):
            low, high = self.bounds(bucket)
            label = self._label(bucket) if low is None or high is None else str(low)
            yield label, self.counts.get(bucket, 0)
