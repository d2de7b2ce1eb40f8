"""``StackCounts``: how often, or how much, each stack was seen: what flame graphs and profiles are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pybpf.record import NamedTuple

__all__ = ["Box", "Frame", "StackCounts"]


class Frame(NamedTuple):
    """A function of a stack, or what stands below all of them."""

    name: str  #: as people read it; may have any character
    kind: str = "user"  #: ``"user"``, ``"kernel"``, or ``"process"``: no function, but whose stack it is
    path: str = ""  #: the file that has it; ``""`` where that is not known


class Box(NamedTuple):
    """A frame with all that it has called, as a flame graph shows it: from ``start`` on it is ``value`` wide."""

    frame: Frame
    row: int  #: frames below it
    start: int
    value: int


class StackCounts:
    """Numbers of stacks; the same stack again is added up.

    :param measure: what was counted: ``"samples"``, ``"off-CPU time"``, ``"allocated"``.
    :param unit: ``"count"``, ``"bytes"``, ``"nanoseconds"``, ``"microseconds"`` or ``"milliseconds"``.
    """

    def __init__(self, measure: str = "samples", unit: str = "count") -> None:
        self.measure = measure
        self.unit = unit
        self._counts: dict[tuple[Frame, ...], int] = {}

    def add(self, frames: Iterable[Frame], value: int = 1) -> None:
        """Add to a stack.

        :param frames: outermost first.
        :param value: what is not above zero is left out.
        """
        if value > 0:
            stack = tuple(frames)
            self._counts[stack] = self._counts.get(stack, 0) + value

    def clear(self) -> None:
        """Begin anew."""
        self._counts.clear()

    def items(self) -> Iterator[tuple[tuple[Frame, ...], int]]:
        """(frames, value) of each stack, the smallest first."""
        return iter(sorted(self._counts.items(), key=lambda item: (item[1], item[0])))

    @property
    def total(self) -> int:
        """All values together."""
        return sum(self._counts.values())

    def __len__(self) -> int:
        return len(self._counts)

    def boxes(self) -> Iterator[Box]:
        """All frames, those that begin alike put together: one comes after everything that it has called."""
        opened: list[tuple[Frame, int]] = []
        end = 0
        for frames, value in [*sorted(self._counts.items()), ((), 0)]:
            same = 0
            while same < len(opened) and same < len(frames) and opened[same][0] == frames[same]:
                same += 1
            while len(opened) > same:
                frame, start = opened.pop()
                yield Box(frame, len(opened), start, end - start)
            opened += [(frame, end) for frame in frames[same:]]
            end += value
