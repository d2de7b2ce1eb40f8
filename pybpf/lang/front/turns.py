"""What lets a loop take one more turn: the verifier, which walks through it, a callback's caller, or an iterator.

Both take their choice here: loops of the source, and what an operation does again and again (:func:`repeat`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from pybpf.compiler.ops import NONE, PTR
from pybpf.lang.front.conditions import choose
from pybpf.lang.front.frame import Loop
from pybpf.lang.values.flow import Choice
from pybpf.lang.values.ints import Int, Test
from pybpf.types import u64

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Instr, Operand
    from pybpf.lang.front.gen import Gen

__all__ = [
    "MOST_TURNS", "CallbackTurns", "Chunks", "Numbers", "Turns", "has_long_loops", "may_walk", "note_turns", "repeat",
    "turns_of",
]  # fmt: skip

#: Turns of one iterator of the kernel, or of one call of bpf_loop: BPF_MAX_LOOPS.
MOST_TURNS = 1 << 23
_CHUNK_BITS = 23
#: Instructions up to which the verifier may walk through all turns of a loop, and of the loops around it, where the
#: kernel has iterators or callbacks: it is faster than those.
_WALKED = 5_000
#: The same where it has neither: the verifier gives up after a million, and follows several ways through a turn.
_MOST_WALKED = 250_000


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


def turns_of(gen: Gen, at: ast.AST, count: Int) -> Numbers:
    """An iterator of so many turns: chunks where one may be too short."""
    return (Numbers if count.limits[1] <= MOST_TURNS else Chunks)(gen, at, count.operand)


def has_long_loops(gen: Gen) -> bool:
    """Whether the kernel has loops that the verifier need not walk through turn by turn."""
    return any(map(gen.target.has, ("iter_num", "helper_loop")))


def may_walk(gen: Gen, instructions: int) -> bool:
    """Whether the verifier may walk through so many instructions as often as the loops around this place make it."""
    return instructions * gen.frame.times() <= (_WALKED if has_long_loops(gen) else _MOST_WALKED)


def note_turns(gen: Gen, turns: Turns, times: int, begun: int) -> int:
    """Note how much the verifier walks through in a loop that has been compiled.

    :param times: how often it walks through the body.
    :param begun: what the builder had written before the loop.
    :returns: about how many instructions.
    """
    walked = times * (gen.b.written - begun)
    if type(turns) is not Turns:
        walked += _WALKED  # the verifier follows it until it learns nothing new: what is around it is no walk
    gen.b.written = begun + walked
    return walked


def repeat(gen: Gen, at: ast.AST, times: int, size: int, turn: Callable[[Operand, Block], None], what: str) -> None:
    """Compile what an operation does for each number from 0 to below a constant.

    :param size: about how many instructions a turn is, for the verifier, which follows every way through it.
    :param turn: compiles one; it may leave to the block that it is given.
    :param what: what the operation is, for the error where the kernel cannot: ``"searching a char[256]"``.
    """
    b = gen.b
    top, body, over, leave = (b.new_block(name) for name in ("repeat", "turn", "over", "stop"))
    turns, walked = _turns_for(gen, at, times, size, what)
    counted = None if isinstance(turns, Numbers) else Choice(b, 0)
    begun = b.written
    gen.go(top)
    gen.land_open(top)
    env = gen.frame.env
    gen.frame.loops.append(Loop(leave, top, turns.end, walked))
    gen.rolled += 1
    turns.begin(top, over)
    number = turns.index() if isinstance(turns, Numbers) else counted.value if counted else 0
    b.branch("ult", number, times, body, leave)  # by which the verifier knows how large it is
    b.seal(body)
    b.start(body)
    turn(number, leave)
    if counted:
        counted.set(b.emit("add", number, 1))
    gen.go(top)
    gen.came_back(top)
    b.seal(top)
    gen.rolled -= 1
    gen.frame.loops.pop()
    gen.land(over)
    b.jump(leave)
    b.seal(leave)
    b.start(leave)
    gen.frame.env = env
    note_turns(gen, turns, walked, begun)
    turns.end()


def _turns_for(gen: Gen, at: ast.AST, times: int, size: int, what: str) -> tuple[Turns, int]:
    """What lets an operation take its turns, and how often the verifier walks through one."""
    target = gen.target
    if may_walk(gen, times * size) and target.has("bounded_loop"):
        return Turns(gen, at), times
    if target.has("iter_num"):
        return Numbers(gen, at, times), 1
    if target.has("helper_loop"):
        return CallbackTurns(gen, at, times), 1
    if gen.frame.times() > 1:
        where, advice = " in a loop", "use it outside of the loop, or make the loop shorter"
    else:
        where, advice = "", "take less, such as a slice, x[:64]"
    gen.fail(at, f"{what}{where} takes more turns than the verifier of this kernel walks through (Linux 5.17 has "
             f"bpf_loop): {advice}")  # fmt: skip
