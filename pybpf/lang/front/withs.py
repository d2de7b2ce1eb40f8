"""``with opens.reserve() as event:``: an event that is filled in steps, and submitted or discarded on every way."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pybpf.lang.front.frame import Loop
from pybpf.lang.front.refused import reason
from pybpf.lang.front.variables import Unset
from pybpf.lang.state.emitting import Reserved
from pybpf.lang.values.ints import Test

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen

__all__ = ["compile_with"]


def compile_with(gen: Gen, node: ast.With) -> None:
    """The statement. Where there is no room for one of its events the body is skipped, and none is submitted."""
    over = gen.b.new_block("endwith")
    _nested(gen, node, node.items, (), over)
    gen.land(over)


def _nested(
    gen: Gen, node: ast.With, items: Sequence[ast.withitem], outer: tuple[tuple[str, Reserved], ...], over: Block
) -> None:
    """Compile the events from some item on, and the body.

    :param outer: the events of the items before, by their names.
    :param over: what follows the statement.
    """
    if not items:
        gen.statements(node.body)
        return
    item = items[0]
    call, name = item.context_expr, item.optional_vars
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "reserve"):
        gen.fail(node, reason(node))
    reserved = gen.value(call)
    if not isinstance(reserved, Reserved) or not isinstance(name, ast.Name):
        gen.fail(node, reason(node))
    inside, full, leave, again = (gen.b.new_block(each) for each in ("with", "full", "leave", "next"))
    gen.branch_on(Test("ne", reserved.there, 0), inside, full, call)
    gen.land(full)
    if gen.b.reachable:
        _lose(gen, outer)
    gen.go(over)
    gen.land(inside)
    gen.assign(name.id, reserved.value, name)
    loops, around = gen.frame.loops, gen.frame.loops[-1:]
    gen.frame.reserved.append(reserved.events)
    loops.append(Loop(leave, again, lambda: reserved.discard(gen)))
    _nested(gen, node, items[1:], (*outer, (name.id, reserved)), over)
    loops.pop()
    gen.frame.reserved.pop()
    if gen.b.reachable:
        gen.b.line = gen.frame.where(call)
        reserved.submit(gen)
        gen.frame.env = {**gen.frame.env, name.id: Unset("was submitted at the end of its 'with'")}
    after = gen.b.new_block("submitted")
    gen.go(after)
    for loop in around:
        for block, target in ((leave, loop.leave), (again, loop.again)):
            gen.land(block)
            if gen.b.reachable:
                reserved.discard(gen)
            gen.go(target)
    gen.land(after)
    if not outer:
        gen.go(over)


def _lose(gen: Gen, events: Sequence[tuple[str, Reserved]]) -> None:
    """Discard the events of a statement that has no room for another one; they are counted."""
    for name, reserved in events:
        reserved.discard(gen)
        reserved.events.counter.bump(gen)
        gen.frame.env = {**gen.frame.env, name: Unset("was submitted at the end of its 'with'")}
