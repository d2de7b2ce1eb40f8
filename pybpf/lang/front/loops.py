"""Loops: unrolled where short and constant, walked through by the verifier, or as the kernel lets long ones be."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from pybpf.lang.front.frame import WALKED, WRITTEN_OUT, Loop
from pybpf.lang.front.hiding import forget, hider, stored_names
from pybpf.lang.front.holding import Held
from pybpf.lang.front.meeting import Carried, form_of_bindings
from pybpf.lang.front.ranges import Range, length
from pybpf.lang.front.turns import (
    MOST_TURNS,
    CallbackTurns,
    Numbers,
    Turns,
    has_long_loops,
    may_walk,
    note_turns,
    turns_of,
)
from pybpf.lang.front.variables import Kept, Known, Unset, join_bindings
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import KINDS, Int
from pybpf.lang.values.joins import Apart
from pybpf.lang.values.memory import Ref
from pybpf.types import s64, u64

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.front.variables import Env
    from pybpf.lang.values.val import Val

__all__ = ["compile_break", "compile_continue", "compile_for", "compile_while"]

#: A loop over constants is written out when its body, in nodes of the syntax tree, times the iterations is at most
#: this, and the instructions that it becomes are at most so many.
_UNROLL, _UNROLLED = 400, 2_000
#: What conditions without effects are made of.
_PLAIN = (ast.Name, ast.Constant, ast.Attribute, ast.UnaryOp, ast.Compare, ast.expr_context, ast.unaryop, ast.cmpop)


def compile_break(gen: Gen, node: ast.Break) -> None:
    """``break``: behind the innermost loop, past its ``else``."""
    gen.go(gen.frame.loops[-1].leave)


def compile_continue(gen: Gen, node: ast.Continue) -> None:
    """``continue``: to what comes between two turns of the innermost loop."""
    gen.go(gen.frame.loops[-1].again)


def compile_while(gen: Gen, node: ast.While) -> None:
    """``while``: as many turns as the kernel grants at once; one that needs more is cut, and counted."""
    if _is_false(gen, node.test):
        gen.statements(node.orelse)
        return

    def begin(done: Block) -> None:
        body = gen.b.new_block("body")
        gen.branch(node.test, body, done)
        gen.land(body)

    if gen.target.has("iter_num"):
        turns: Turns = Numbers(gen, node, MOST_TURNS)
    elif gen.target.has("helper_loop"):
        turns = CallbackTurns(gen, node, MOST_TURNS)
    else:
        turns = Turns(gen, node)
    hide = hider(gen, node, walked=type(turns) is Turns)
    _loop(gen, node, turns, begin, lambda: None, hide=hide)


def _is_false(gen: Gen, test: ast.expr) -> bool:
    """Whether a condition is known to be false before the loop begins."""
    if not all(isinstance(each, _PLAIN) for each in ast.walk(test)):
        return False
    val = gen.value(test)
    return isinstance(val, Const) and not val.value


def _loop(
    gen: Gen,
    node: ast.While | ast.For,
    turns: Turns,
    begin: Callable[[Block], None],
    step: Callable[[], None],
    times: int = 1,
    hide: Callable[[], None] = lambda: None,
) -> int:
    """A loop that jumps back.

    :param turns: what lets it take one more turn.
    :param begin: compiles what decides whether there is one more, goes to the block that it is given if not, and
        leads into the body.
    :param step: compiles what comes between two turns.
    :param times: how often the verifier walks through the body.
    :param hide: compiles what comes at the begin of each turn.
    :returns: about how many instructions the verifier walks through.
    """
    if not gen.target.has("bounded_loop"):
        gen.fail(node, "this kernel takes no loops (Linux 5.3 does): iterate over a short constant range, which is "
                 "unrolled")  # fmt: skip
    top, again, over, done, leave = (gen.b.new_block(name) for name in ("loop", "next", "over", "done", "leave"))
    stored = stored_names(node)
    carried = _carried(gen, node, turns, stored)
    carried.enter()
    gen.go(top)
    gen.land_open(top)
    before = gen.frame.env = _entered(gen, node, stored)
    begun = gen.b.written
    hide()
    # also the condition may end the function
    gen.frame.loops.append(Loop(leave, again, turns.end if isinstance(turns, Numbers) else None, times))
    gen.rolled += 1
    turns.begin(top, over)
    begin(done)
    entered = gen.b.reachable
    gen.statements(node.body)
    gen.rolled -= 1
    gen.frame.loops.pop()
    no_way_out = not leave.predecessors and not done.predecessors
    if entered and isinstance(node, ast.While) and _endless(gen, node, no_way_out):
        gen.fail(node, "this loop never ends: the kernel takes loops that end after a known number of turns, such as "
                 "'for i in range(100):', with 'break' or 'return' to leave it")  # fmt: skip
    gen.go(again)
    gen.land(again)
    if gen.b.reachable:
        step()
    carried.enter()
    gen.go(top)
    _check_steady(gen, node, before, gen.came_back(top), carried.forms.keys())
    gen.b.seal(top)
    walked = note_turns(gen, turns, times, begun)
    _behind(gen, node, turns, over, done, leave)
    return walked


def _carried(gen: Gen, node: ast.While | ast.For, turns: Turns, stored: frozenset[str]) -> Carried:
    """The variables that turns leave to each other, before the first one."""
    if type(turns) is not Turns:
        forget(gen, stored)
    carried = Carried(gen, node)
    if isinstance(turns, CallbackTurns):
        lost = next((name for name, form in carried.forms.items() if form.may_be_null), None)
        if lost is not None:  # the verifier takes the null that a callback finds for any number
            gen.fail(node, f"{lost!r} stands for a place or for None, depending on the turn, which this kernel's loops "
                     "cannot keep (Linux 6.4 can): keep its key, and look it up behind the loop")  # fmt: skip
    return carried


def _behind(gen: Gen, node: ast.While | ast.For, turns: Turns, over: Block, done: Block, leave: Block) -> None:
    """Compile what comes behind a loop.

    :param over: where there are no more turns: the end of a range, but a ``while`` has been cut, which is counted.
    :param done: where its condition does not hold any more.
    :param leave: where ``break`` goes.
    """
    gen.land(over)
    if gen.b.reachable:
        gen.b.line = gen.frame.where(node)
    if isinstance(node, ast.While):
        gen.probe.count_cut(gen)
        gen.go(leave)
    else:
        gen.go(done)
    after = gen.b.new_block("endloop")
    for block, rest in ((done, node.orelse), (leave, [])):
        gen.land(block)
        if gen.b.reachable:
            gen.b.line = gen.frame.where(node)
            turns.end()
            gen.statements(rest)
        gen.go(after)
    gen.land(after)


def _endless(gen: Gen, node: ast.While, no_way_out: bool) -> bool:
    """Whether a loop goes on for ever if it is entered: nothing leaves it, and its condition does not change."""
    if _may_leave(node):
        return False
    parts = list(ast.walk(node.test))
    if any(isinstance(each, (ast.Call, ast.Subscript, ast.NamedExpr)) for each in parts):
        return no_way_out
    if not all(_is_steady(gen, each) for each in parts if isinstance(each, ast.Attribute)):
        return no_way_out
    names = {each.id for each in parts if isinstance(each, ast.Name)}
    return no_way_out or not names & stored_names(node)


def _may_leave(node: ast.While | ast.For) -> bool:
    """Whether the body of a loop may end it."""
    inside = (each for statement in node.body for each in ast.walk(statement))
    return any(isinstance(each, (ast.Return, ast.Break)) for each in inside)


def _is_steady(gen: Gen, node: ast.Attribute) -> bool:
    """Whether an attribute is the same in each turn: nothing but the probe itself could change it."""
    return isinstance(node.value, ast.Name) and gen.value(node.value).steady


def _entered(gen: Gen, node: ast.AST, stored: frozenset[str]) -> Env:
    """The variables in any iteration: what the loop assigns to is no longer known from before it."""
    env = dict(gen.frame.env)
    for name in stored & env.keys():
        binding = env[name]
        why = gen.facts.unsteady.get((gen.frame.key, node, name))
        if why:
            env[name] = Unset(why)
        elif isinstance(binding, Known) and isinstance(binding.val, Const) and isinstance(binding.val.value, int):
            env[name] = Kept("int", binding.val)
    return env


def _check_steady(gen: Gen, node: ast.AST, before: Env, after: list[Env], carried: Collection[str]) -> None:
    """Note the variables that an iteration leaves bound to what the next one was not compiled for.

    :param carried: those that have a form: that was looked after.
    """
    for env in after:
        for name, binding in before.items():
            other = env.get(name)
            if isinstance(binding, Unset) or other is binding:
                continue
            place = gen.frame.key, node, name
            joined = join_bindings(binding, other)
            if isinstance(joined, Unset) and (other is None or isinstance(other, Unset)):
                gen.facts.unsteady[place] = joined.why
            elif name not in carried and (isinstance(joined, Unset) or joined.val.known is not binding.val.known):
                try:
                    gen.facts.forms[place] = form_of_bindings(gen, name, [binding, other])
                except Apart as why:
                    gen.facts.unsteady[place] = f"is {why} here, depending on the way: use two names"


def compile_for(gen: Gen, node: ast.For) -> None:
    """``for``: written out over what is no range or short, walked through where that is cheap, else as the kernel
    lets long loops be.

    What a pass over the probe tried and found to be too much (:attr:`Facts.heavy`), the next one does not try again.
    """
    over = gen.value(node.iter)
    if not isinstance(over, Range):
        elements = over.elements(gen, node.iter)
        times = len(elements)
        if isinstance(over, Ref):  # what the body stores is seen in later turns, as in Python
            held = Held(gen, over, node.iter)
            _unrolled(gen, node, (held.value.item(gen, Const(each), node.iter) for each in range(times)), times)
            held.done()
        else:
            _unrolled(gen, node, elements, times)
        return
    known, long = over.constant, has_long_loops(gen)
    if known is None:
        if long:
            _long(gen, node, over)
        else:
            _for_range(gen, node, over, Turns(gen, node))
        return
    times, loops = length(known), gen.target.has("bounded_loop")
    if times > MOST_TURNS and not _may_leave(node):
        gen.fail(node.iter, f"a loop of {times} turns would hold its CPU for seconds: a probe takes up to {MOST_TURNS} "
                 "of a constant range; take fewer, leave by 'break' or 'return', or do the work in Python")  # fmt: skip
    cost = times * sum(1 for each in node.body for _ in ast.walk(each))
    place = gen.frame.key, node
    heavy = gen.facts.heavy.get(place, 0)
    if (cost <= _UNROLL and heavy < WRITTEN_OUT) or not loops:
        size = _unrolled(gen, node, over.elements(gen, node.iter), times) if cost <= _UNROLL else 0
        if cost > _UNROLL:
            _for_range(gen, node, over, Turns(gen, node), times)  # which says that there are none
        elif size > _UNROLLED and loops:
            gen.facts.heavy[place] = WRITTEN_OUT
        return
    if heavy < WALKED and may_walk(gen, times):
        walked = _for_range(gen, node, over, Turns(gen, node), times)
        if not may_walk(gen, walked):
            gen.facts.heavy[place] = WALKED
    elif long:
        _long(gen, node, over)
    else:
        inner = any(isinstance(each, (ast.For, ast.While)) for statement in node.body for each in ast.walk(statement))
        nested = " in a loop" if inner or gen.frame.times() > 1 else ""
        gen.fail(node, f"a loop of {times} iterations{nested} is too long for the verifier of this kernel (Linux 5.17 "
                 "has bpf_loop): make it shorter")  # fmt: skip


def _long(gen: Gen, node: ast.For, over: Range) -> None:
    """Of more turns than the verifier may walk through."""
    count = over.count(gen, node.iter)
    if gen.target.has("iter_num"):
        _iterated(gen, node, over, turns_of(gen, node.iter, count))
    else:
        most = MOST_TURNS if count.limits[1] < MOST_TURNS else MOST_TURNS**2
        _for_range(gen, node, over, CallbackTurns(gen, node.iter, most))


def _unrolled(gen: Gen, node: ast.For, values: Iterable[Val], times: int) -> int:
    """Write a loop out; gives about how many instructions it becomes."""
    from pybpf.lang.front.statements import assign_to

    leave = gen.b.new_block("leave")
    begun = gen.b.written
    hide = hider(gen, node, written_out=True)
    for value in values:
        again = gen.b.new_block("next")
        hide()
        assign_to(gen, node.target, value)
        gen.frame.loops.append(Loop(leave, again, times=times))
        gen.statements(node.body)
        gen.frame.loops.pop()
        gen.go(again)
        gen.land(again)
        if not gen.b.reachable:
            break
    size = gen.b.written - begun
    gen.statements(node.orelse)
    gen.go(leave)
    gen.land(leave)
    return size


def _for_range(gen: Gen, node: ast.For, over: Range, turns: Turns, times: int = 1) -> int:
    """A range counts by itself where it cannot pass its end; else its iterations are counted.

    Gives about how many instructions the verifier walks through.
    """
    from pybpf.lang.front.statements import assign_to

    b, counter, at = gen.b, object(), node.iter
    kind = over.kind(gen, at)
    exact = abs(over.step) == 1 or KINDS[kind][0] < 64
    start = over.start.number(gen, at)
    first, last = (start, over.stop.number(gen, at)) if exact else (Int(0, u64), over.count(gen, at))
    up = over.step > 0 or not exact
    compared = s64 if exact and abs(over.step) > 1 else u64 if not exact else kind
    b.write(counter, first.operand)

    def begin(done: Block) -> None:
        now = b.read(counter)
        body = b.new_block("body")
        more = Int(now, compared).compare(gen, "<" if up else ">", Int(last.operand, compared), at)
        gen.branch_on(more, body, done, at)
        gen.land(body)
        if not exact:
            now = b.emit("add", start.operand, b.emit("mul", now, over.step))
        assign_to(gen, node.target, Int(now, kind))

    def step() -> None:
        b.write(counter, b.emit("add", b.read(counter), over.step if exact else 1))

    hide = hider(gen, node, walked=type(turns) is Turns)
    return _loop(gen, node, turns, begin, step, times, hide)


def _iterated(gen: Gen, node: ast.For, over: Range, turns: Numbers) -> None:
    """By the kernel's iterator of numbers, through whose body the verifier walks until it learns nothing new."""
    from pybpf.lang.front.statements import assign_to

    b, at, kind = gen.b, node.iter, over.kind(gen, node.iter)
    start = over.start.number(gen, at)

    def begin(done: Block) -> None:
        now = b.emit("add", start.operand, b.emit("mul", turns.index(), over.step))
        assign_to(gen, node.target, Int(now, kind))

    _loop(gen, node, turns, begin, lambda: None, hide=hider(gen, node, walked=False))
