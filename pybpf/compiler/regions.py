"""What a function writes between two blocks: a read of a variable passes by all that does not assign to it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence

from pybpf.compiler.ir import Block

__all__ = ["Regions"]


class _Place:
    """What is known of a block.

    :ivar begun: how many writes there were before the first one of this block.
    :ivar closed: how many there were when all ways to it were known.
    :ivar above: the block that every way to it passes; ``None`` as long as that is not known.
    :ivar far: the same, or a block further up: a way to go up in few steps, after Myers, "An applicative
        random-access stack" (1983).
    :ivar latest: the largest ``closed`` from here up to before ``far``: a loop is closed after all that is in it.
    :ivar depth: blocks above it.
    """

    __slots__ = ("above", "begun", "block", "closed", "depth", "far", "latest")

    def __init__(self, block: Block, begun: int) -> None:
        self.block = block
        self.begun = begun
        self.closed = -1
        self.above: _Place | None = None
        self.far: _Place = self
        self.latest = -1
        self.depth = 0


class Regions:
    """The tree of dominators while a function is written, and when each variable was assigned to.

    Front ends write a function from its begin to its end, so what lies between a block and one that dominates it was
    written in between, too. Where that is not so, nothing is said of the block.
    """

    def __init__(self) -> None:
        self._now = 0
        self._places: dict[Block, _Place] = {}
        self._written: dict[Hashable, list[int]] = {}

    def _place(self, block: Block) -> _Place:
        place = self._places.get(block)
        if place is None:
            self._now += 1  # so that a block begins later than those that dominate it
            place = self._places[block] = _Place(block, self._now)
        return place

    def write(self, variable: Hashable, block: Block) -> None:
        """A variable is assigned to in a block."""
        self._place(block)
        self._now += 1
        times = self._written.setdefault(variable, [])
        times.append(self._now)

    def close(self, block: Block) -> None:
        """All ways to a block are known, and have been written."""
        ways = [self._place(each) for each in block.predecessors]
        place = self._place(block)
        place.closed = self._now
        place.above = above = _common(place, ways)
        if above is not None:
            place.depth = above.depth + 1
            far = above.far
            place.far, place.latest = above, place.closed
            if above.depth - far.depth == far.depth - far.far.depth:
                place.far, place.latest = far.far, max(place.closed, above.latest, far.latest)

    def unwritten_since(self, variable: Hashable, block: Block) -> Block:
        """The furthest block up from which on to the begin of a block nothing assigns to a variable; the block itself
        if there is none. What the variable is at the end of that one, it is at the begin of this."""
        at = self._place(block)
        times = self._written.get(variable, ())
        while at.above is not None:
            above = at.far
            if _any_within(times, above.begun, at.latest):
                above = at.above
                if _any_within(times, above.begun, at.closed):
                    break
            at = above
        return at.block


def _any_within(times: Sequence[int], first: int, last: int) -> bool:
    """Whether one of some times, which are in order, is in a range."""
    at = bisect_left(times, first)
    return at < len(times) and times[at] <= last



def _common(place: _Place, ways: list[_Place]) -> _Place | None:
    """The last block that every way to a block passes, if that is known, and began before it."""
    found: _Place | None = None
    # from the last one up, which keeps a block with many predecessors, such as a common exit, linear
    for way in sorted(ways, key=lambda each: -each.begun):
        one: _Place | None = way
        if way.begun >= place.begun:  # back to the head of a loop
            while one is not None and one.begun > place.begun:
                one = one.far if one.far.begun >= place.begun and one.far is not one else one.above
            if one is not place:
                return None
            continue
        found = found or way
        while one is not found:
            if one is None or found is None:
                return None
            if one.begun > found.begun:
                one = one.above
            else:
                found = found.above
    return found
