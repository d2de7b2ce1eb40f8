"""What lets a loop take one more turn: the verifier, which walks through it, a callback's caller, or an iterator."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from pybpf.compiler.ops import NONE, PTR
from pybpf.compiler.ranges import unsigned_range
from pybpf.lang.front.conditions import choose
from pybpf.lang.values.ints import Int, Test
from pybpf.types import u64

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Instr, Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["MOST_TURNS", "CallbackTurns", "Chunks", "Numbers", "Turns", "turns_of"]

#: Turns of one iterator of the kernel, or of one call of bpf_loop: BPF_MAX_LOOPS.
MOST_TURNS = 1 << 23
_CHUNK_BITS = 23


class Turns:
    """Turns that the verifier walks through, one by one.

    :ivar at: the loop's node.
    """

    def __init__(self, gen: Gen, at: ast.AST) -> None:
        self.gen = gen
        self.at = at

    def begin(self, top: Block, over: Block) -> None:
        """At the head of the loop: go to ``over`` where there are no more turns, back to ``top`` to ask again."""

    def end(self) -> None:
        """Where the loop is left, in whatever way."""


class CallbackTurns(Turns):
    """Turns that bpf_loop takes: the compiler makes the loop its callback.

    :param most: how many.
    """

    def __init__(self, gen: Gen, at: ast.AST, most: int) -> None:
        super().__init__(gen, at)
        self._most = most

    def begin(self, top: Block, over: Block) -> None:
        body = self.gen.b.new_block("turn")
        again = self.gen.b.emit("again", most=self._most)
        self.gen.branch_on(Test("ne", again, 0), body, over, self.at)
        self.gen.land(body)


class Numbers(Turns):
    """The kernel's iterator of the numbers from 0 to below a count.

    :param count: at most :data:`MOST_TURNS`.
    """

    def __init__(self, gen: Gen, at: ast.AST, count: Operand) -> None:
        super().__init__(gen, at)
        self._state = gen.b.slot(8, "iterator")
        self._count = count
        self._number: Instr
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self.gen.b.emit("kfunc", self._state, 0, self._count, name="bpf_iter_num_new")

    def begin(self, top: Block, over: Block) -> None:
        body = self.gen.b.new_block("turn")
        self._number = self.gen.b.emit("kfunc", self._state, type=PTR, name="bpf_iter_num_next")
        self.gen.branch_on(Test("ne", self._number, 0), body, over, self.at)
        self.gen.land(body)

    def index(self) -> Operand:
        """The number of this turn."""
        return self.gen.b.emit("load", self._number, offset=0, size=4, signed=False)

    def end(self) -> None:
        self.gen.b.emit("kfunc", self._state, type=NONE, name="bpf_iter_num_destroy")


class Chunks(Numbers):
    """More turns than one iterator has: an iterator of chunks starts the one of turns again and again."""

    def __init__(self, gen: Gen, at: ast.AST, count: Operand) -> None:
        b = gen.b
        whole = b.emit("add", b.emit("lshr", count, _CHUNK_BITS), 1)
        self._chunks = Numbers(gen, at, _least(gen, whole, at))
        super().__init__(gen, at, 0)
        self._total = count
        self._first = object()
        b.write(self._first, 0)

    def begin(self, top: Block, over: Block) -> None:
        gen, b = self.gen, self.gen.b
        empty = b.new_block("empty")
        super().begin(top, empty)
        body = b.new_block("body")
        gen.go(body)
        gen.land(empty)
        self._chunks.begin(top, over)
        first = b.emit("shl", self._chunks.index(), _CHUNK_BITS)
        b.write(self._first, first)
        self.restart(_least(gen, b.emit("sub", self._total, first), self.at))
        gen.go(top)
        gen.land(body)

    def index(self) -> Operand:
        return self.gen.b.emit("add", self.gen.b.read(self._first), super().index())

    def end(self) -> None:
        super().end()
        self._chunks.end()

    def restart(self, count: Operand) -> None:
        """Begin to count another chunk."""
        super().end()
        self._count = count
        self.start()


def _least(gen: Gen, count: Operand, at: ast.AST) -> Operand:
    """A count, or the most that an iterator takes."""
    most = Int(MOST_TURNS, u64)
    return choose(gen, Test("ugt", count, MOST_TURNS), most, Int(count, u64), at).scalar(gen, at)


def turns_of(gen: Gen, at: ast.AST, count: Operand) -> Numbers:
    """An iterator of so many turns: chunks where one may be too short."""
    return (Numbers if unsigned_range(count)[1] <= MOST_TURNS else Chunks)(gen, at, count)
