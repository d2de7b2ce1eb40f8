"""``range(...)`` in a probe."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pybpf.lang.values.arithmetic import MIXED
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, Literal, all_of, join
from pybpf.lang.values.val import Val
from pybpf.types import u64

if TYPE_CHECKING:
    from pybpf.lang.front.gen import Gen

__all__ = ["Range", "length", "make_range"]

#: numbers of a range that are written out at most: unpacked, or gone through by zip() and its like
_MOST_ELEMENTS = 4096


def length(numbers: range) -> int:
    """``len(numbers)``, which Python refuses above 2**63."""
    return max(0, -((numbers.start - numbers.stop) // numbers.step))


class Range(Val):
    """``range(start, stop, step)``; the step is constant.

    :ivar start: its first number.
    :ivar stop: the number before which it ends.
    :ivar step: the distance, not 0.
    """

    __slots__ = ("start", "step", "stop")

    def __init__(self, start: Val, stop: Val, step: int) -> None:
        self.start = start
        self.stop = stop
        self.step = step

    @property
    def what(self) -> str:
        return "a range"

    @property
    def constant(self) -> range | None:
        """The range of Python, where both ends are constants."""
        if isinstance(self.start, Const) and isinstance(self.stop, Const):
            return range(self.start.value, self.stop.value, self.step)
        return None

    def kind(self, gen: Gen, at: ast.AST) -> Any:
        """The type of its numbers: the narrowest that holds both ends."""
        kind = join(self.start.number(gen, at).narrowest, self.stop.number(gen, at).narrowest)
        if kind is None:
            gen.fail(at, f"one end of this range is a u64, the other may be negative: {MIXED}")
        return kind

    def count(self, gen: Gen, at: ast.AST) -> Int:
        """How many numbers it has: ``(last - first - 1) // step + 1``, or 0."""
        from pybpf.lang.front.conditions import choose

        if self.constant is not None:
            return Literal(length(self.constant))
        first, last = (self.start, self.stop) if self.step > 0 else (self.stop, self.start)
        low, high = Int(first.scalar(gen, at), self.kind(gen, at)), Int(last.scalar(gen, at), self.kind(gen, at))
        distance = gen.b.emit("sub", high.operand, low.operand)
        whole = gen.b.emit("add", gen.b.emit("udiv", gen.b.emit("sub", distance, 1), abs(self.step)), 1)
        count = choose(gen, low.compare(gen, "<", high, at), Int(whole, u64), Int(0, u64), at).scalar(gen, at)
        farthest = last.number(gen, at).limits[1] - first.number(gen, at).limits[0]
        return Int(count, u64, (0, max(0, (farthest - 1) // abs(self.step) + 1)))

    def length(self, gen: Gen, at: ast.AST) -> Val:
        return Const(length(self.constant)) if self.constant is not None else self.count(gen, at)

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        if self.constant is None:
            self.refuse(gen, at, "of run time has no fixed number of elements")
        if length(self.constant) > _MOST_ELEMENTS:
            self.refuse(gen, at, f"of {length(self.constant)} numbers is too long to be written out: loop over it")
        kind = self.kind(gen, at)
        return [Int(each, kind) for each in self.constant]

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        if abs(self.step) != 1:
            self.refuse(gen, at, "with a step does not support 'in': compare the remainder")
        first, last = (">=", "<") if self.step > 0 else ("<=", ">")
        tests = [item.compare(gen, first, self.start, at), item.compare(gen, last, self.stop, at)]
        return all_of(gen, tests, at)


def make_range(gen: Gen, args: Sequence[Val], at: ast.AST) -> Val:
    """The value of a call of ``range``."""
    if not 1 <= len(args) <= 3:
        gen.fail(at, f"range() takes 1 to 3 integers, and got {len(args)}")
    for each in args:
        each.number(gen, at)
    start, stop = (Const(0), args[0]) if len(args) == 1 else args[:2]
    step = 1 if len(args) < 3 else gen.const(args[2])
    if not isinstance(step, int) or step == 0:
        gen.fail(at, "the step of a range is a constant other than 0: write range(start, stop, 2), say")
    return Range(start, stop, step)
