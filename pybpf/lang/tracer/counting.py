"""The aggregates that a tracer makes: a method for each way to put values together."""

from __future__ import annotations

from typing import Any, TypeVar

from pybpf import report
from pybpf.errors import PackError
from pybpf.lang import state
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.maps import ENTRIES
from pybpf.lang.tracer.given import check_whole
from pybpf.report.histogram import MOST_BITS
from pybpf.types import s64

__all__ = ["MakesAggregates"]

P = TypeVar("P")


class MakesAggregates:
    """Aggregates of a :class:`~pybpf.Tracer`: each CPU keeps its own, Python sees them together.

    In a probe ``x.add(value)``, or with keys ``x[key].add(value)``; in Python ``x.value``, or ``x[key]`` and
    ``x.items()``; ``print(x)`` shows them as bpftrace does. All methods share these parameters: ``key``: type of the
    keys, or a tuple of types, or None; ``kind``: ``s64`` or ``u64``, in which values are kept; ``max_entries``: how
    many keys fit (of histograms: buckets that are not empty, of all keys together); ``name``: what other tools show,
    by default the name of the variable that probes use; ``double_buffered``, with keys: ``x.changes()`` leaves it
    empty, and still no value is lost, for there are two maps (of twice the memory) that take turns.
    """

    counts: Counts

    def _part(self, made: P) -> P:
        raise NotImplementedError

    def _tally(self, way: str, key: Any, kind: Any, max_entries: int, name: str, double: bool) -> state.Tally:
        return self._part(state.Tally(way, self.counts, key, kind, max_entries, name, double))

    def count(self, key: Any = None, max_entries: int = ENTRIES, *, name: str = "",
              double_buffered: bool = False) -> state.Tally:  # fmt: skip
        """How often: ``x.add()``, ``x[key].add()``, ``x[key] += n``."""
        return self._tally("count", key, s64, max_entries, name, double_buffered)

    def sum(self, key: Any = None, kind: Any = s64, max_entries: int = ENTRIES, *, name: str = "",
            double_buffered: bool = False) -> state.Tally:  # fmt: skip
        """The sum of values."""
        return self._tally("sum", key, kind, max_entries, name, double_buffered)

    def min(self, key: Any = None, kind: Any = s64, max_entries: int = ENTRIES, *, name: str = "",
            double_buffered: bool = False) -> state.Tally:  # fmt: skip
        """The smallest value; None where there was none."""
        return self._tally("min", key, kind, max_entries, name, double_buffered)

    def max(self, key: Any = None, kind: Any = s64, max_entries: int = ENTRIES, *, name: str = "",
            double_buffered: bool = False) -> state.Tally:  # fmt: skip
        """The largest value; None where there was none."""
        return self._tally("max", key, kind, max_entries, name, double_buffered)

    def avg(self, key: Any = None, kind: Any = s64, max_entries: int = ENTRIES, *, name: str = "",
            double_buffered: bool = False) -> state.Tally:  # fmt: skip
        """The average, an integer, rounded towards zero."""
        return self._tally("avg", key, kind, max_entries, name, double_buffered)

    def stats(self, key: Any = None, kind: Any = s64, max_entries: int = ENTRIES, *, name: str = "",
              double_buffered: bool = False) -> state.Tally:  # fmt: skip
        """Number, sum, average, smallest and largest: a :class:`~pybpf.report.Stats`."""
        return self._tally("stats", key, kind, max_entries, name, double_buffered)

    def histogram(
        self, key: Any = None, bits: int = 0, max_entries: int = ENTRIES, *, name: str = "",
        double_buffered: bool = False,
    ) -> state.HistogramMap:  # fmt: skip
        """How many values by powers of two: a :class:`~pybpf.report.Log2Histogram`.

        :param bits: 0 to 5: split each power of two into ``2**bits`` buckets.
        :raises PackError: ``bits`` are others.
        """
        check_whole("bits", bits, 0, MOST_BITS)
        shape = report.Log2Histogram({}, bits)
        return self._part(state.HistogramMap(shape, self.counts, key, max_entries, name, double_buffered))

    def linear(
        self, lo: int, hi: int, step: int, key: Any = None, max_entries: int = ENTRIES, *, name: str = "",
        double_buffered: bool = False,
    ) -> state.HistogramMap:  # fmt: skip
        """How many values in steps from ``lo`` to ``hi``: a :class:`~pybpf.report.LinearHistogram`.

        :raises PackError: these are no steps, or more than 1,000.
        """
        for what, number in (("lo", lo), ("hi", hi), ("step", step)):
            check_whole(what, number, -(1 << 63), (1 << 63) - 1)
        try:
            shape = report.LinearHistogram({}, lo, hi, step)
        except ValueError as error:
            raise PackError(f"cannot count in steps of {step} from {lo} to {hi}: {error}") from None
        return self._part(state.HistogramMap(shape, self.counts, key, max_entries, name, double_buffered))
