"""Count, total, smallest and largest of the values that a probe saw."""

from __future__ import annotations

from collections.abc import Callable

from pybpf.record import dataclass, field_names

__all__ = ["Stats"]


@dataclass(frozen=True)
class Stats:
    """What bpftrace's ``stats()`` keeps, and prints as ``count 3, average 2, total 6``; and both extremes.

    Adding merges two of them; subtracting an earlier one from a later one gives the interval between them, whose
    extremes nobody knows.

    :ivar min: the smallest value; ``None`` when there was none, or when it is not known.
    :ivar max: likewise the largest.
    """

    count: int
    total: int
    min: int | None = None
    max: int | None = None

    @property
    def average(self) -> int:
        """The mean, towards zero as C divides; 0 when nothing was counted."""
        mean = abs(self.total) // self.count if self.count else 0
        return mean if self.total >= 0 else -mean

    def to_dict(self) -> dict[str, int | None]:
        """The fields and ``average``, ready for JSON."""
        return {**{name: getattr(self, name) for name in field_names(self)}, "average": self.average}

    def __add__(self, other: Stats) -> Stats:
        # with nothing counted on one side, the extremes are the other's
        if not self.count or not other.count:
            return self if self.count else other
        low, high = _known(min, self.min, other.min), _known(max, self.max, other.max)
        return Stats(self.count + other.count, self.total + other.total, low, high)

    def __sub__(self, earlier: Stats) -> Stats:
        """What was counted since ``earlier``.

        :raises ValueError: the count went down: the map was cleared in between, or the two are the wrong way round.
        """
        if self.count < earlier.count:
            raise ValueError(f"{self.count} values are fewer than the {earlier.count} of before")
        return Stats(self.count - earlier.count, self.total - earlier.total)

    def __str__(self) -> str:
        return f"count {self.count}, average {self.average}, total {self.total}"


def _known(choose: Callable[[int, int], int], one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else choose(one, two)
