"""Loops: turns that the verifier walks through, or that bpf_loop takes where there may be many."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pybpf.bt.lower.gen import Loop
from pybpf.lang.values.flow import Choice

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Block, Operand

__all__ = ["MOST_TURNS", "counted", "loop"]

#: Turns of a loop: BPF_MAX_LOOPS.
MOST_TURNS = 1 << 23
#: Turns that the verifier is let to walk through one by one.
_WALKED = 64


def counted(
    gen: Gen,
    start: Operand,
    end: Operand,
    turn: Callable[[Operand], None],
    step: int = 1,
    cut: Callable[[], None] | None = None,
) -> None:
    """``turn`` for each number from ``start`` to below ``end``, as signed numbers; ``cut`` as in :func:`loop`."""
    number = Choice(gen.b, start)
    turns = end - start if isinstance(start, int) and isinstance(end, int) else None
    few = turns is not None and turns <= _WALKED
    if turns is not None and turns <= MOST_TURNS:
        cut = None

    def begin(body: Block, over: Block) -> None:
        gen.b.branch("slt", number.value, end, body, over)

    def again() -> None:
        number.set(gen.b.emit("add", number.value, step))

    loop(gen, begin, lambda: turn(number.value), again, walked=few, cut=cut)


def loop(
    gen: Gen,
    begin: Callable[[Block, Block], None],
    turn: Callable[[], None],
    again: Callable[[], None] = lambda: None,
    walked: bool = False,
    cut: Callable[[], None] | None = None,
) -> None:
    """A loop.

    :param begin: decides whether there is one more turn: goes to the first block if so, else to the second.
    :param turn: compiles the body.
    :param again: compiles what comes between two turns.
    :param walked: the verifier may walk through all turns.
    :param cut: compiles what happens where the kernel grants no more turns.
    """
    b = gen.b
    top, body, following, leave = (b.new_block(name) for name in ("loop", "body", "next", "endloop"))
    b.jump(top)
    b.start(top)
    if not walked and gen.target.has_helper(gen.unit.type, "loop"):
        more = b.new_block("turn")
        over = leave if cut is None else b.new_block("cut")
        b.branch("ne", b.emit("again", most=MOST_TURNS), 0, more, over)
        if cut is not None:
            gen.land(over)
            cut()
            b.jump(leave)
        gen.land(more)
    begin(body, leave)
    gen.land(body)
    gen.loops.append(Loop(leave, following))
    turn()
    gen.loops.pop()
    b.jump(following)
    gen.land(following)
    again()
    b.jump(top)
    b.seal(top)
    gen.land(leave)
