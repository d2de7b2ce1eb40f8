"""Loops: unrolled where they are short and constant, else bounded by the kernel's verifier."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pybpf.compiler.ops import NONE, PTR
from pybpf.lang.conditions import choose
from pybpf.lang.constants import Const
from pybpf.lang.frame import Loop
from pybpf.lang.ints import KINDS, Int, Test
from pybpf.lang.ranges import Range
from pybpf.lang.variables import Kept, Known, Unset, assume, join_bindings
from pybpf.types import s64, u64

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block
    from pybpf.lang.gen import Gen
    from pybpf.lang.values import Val
    from pybpf.lang.variables import Env

__all__ = ["compile_break", "compile_continue", "compile_for", "compile_while"]

#: Nodes of the syntax tree times iterations up to which the verifier may walk through every iteration of a loop over a
#: constant range, where the kernel has iterators: it is faster than those.
WALKED = 5_000
#: The same where it has none: the verifier gives up after a million instructions.
MOST_WALKED = 400_000
#: The iterations of an iterator, BPF_MAX_LOOPS.
MOST_ITERATIONS = 1 << 23
#: A loop over constants is unrolled when its body, in nodes of the syntax tree, times the iterations is at most this.
UNROLL = 400


def compile_break(gen: Gen, node: ast.Break) -> None:
    gen.go(gen.frame.loops[-1].leave)


def compile_continue(gen: Gen, node: ast.Continue) -> None:
    gen.go(gen.frame.loops[-1].again)


def compile_while(gen: Gen, node: ast.While) -> None:
    body, done = gen.b.new_block("body"), gen.b.new_block("done")

    def begin() -> None:
        gen.branch(node.test, body, done)
        gen.land(body)

    _loop(gen, node, begin, done, lambda: None)


def _loop(
    gen: Gen,
    node: ast.While | ast.For,
    begin: Callable[[], None],
    done: Block,
    step: Callable[[], None],
    end: Callable[[], None] | None = None,
) -> None:
    """A loop that jumps back.

    :param begin: compiles what decides whether there is one more iteration, goes to ``done`` if not, and leads into
        the body.
    :param step: compiles what comes between two iterations.
    :param end: compiles what comes whenever the loop is left.
    """
    if not gen.target.has("bounded_loop"):
        gen.fail(node, "this kernel takes no loops (Linux 5.3 does): iterate over a short constant range, which is "
                 "unrolled")  # fmt: skip
    top, again, leave, after = (gen.b.new_block(name) for name in ("loop", "next", "leave", "endloop"))
    gen.go(top)
    gen.land_open(top)
    before = gen.frame.env = _entered(gen, node, _stored(node))
    begin()
    entered = gen.b.reachable
    gen.frame.loops.append(Loop(leave, again, end))
    gen.statements(node.body)
    gen.frame.loops.pop()
    if entered and isinstance(node, ast.While) and _endless(node, not (leave.predecessors or done.predecessors)):
        gen.fail(node, "this loop never ends: the kernel takes loops that end after a known number of turns, such as "
                 "'for i in range(100):', with 'break' or 'return' to leave it")  # fmt: skip
    gen.go(again)
    gen.land(again)
    if gen.b.reachable:
        step()
    gen.go(top)
    _check_steady(gen, node, before, gen.came_back(top))
    gen.b.seal(top)
    for block, rest in ((done, node.orelse), (leave, [])):
        gen.land(block)
        if gen.b.reachable:
            gen.b.line = gen.frame.where(node)
            if end is not None:
                end()
            gen.statements(rest)
        gen.go(after)
    gen.land(after)


def _endless(node: ast.While, no_way_out: bool) -> bool:
    """Whether a loop goes on for ever if it is entered: nothing leaves it, and its condition does not change."""
    inside = [each for statement in node.body for each in ast.walk(statement)]
    if any(isinstance(each, (ast.Return, ast.Break)) for each in inside):
        return False
    parts = list(ast.walk(node.test))
    if any(isinstance(each, (ast.Call, ast.Attribute, ast.Subscript, ast.NamedExpr)) for each in parts):
        return no_way_out
    names = {each.id for each in parts if isinstance(each, ast.Name)}
    return no_way_out or not names & _stored(node)


def _stored(node: ast.AST) -> frozenset[str]:
    """The names that a loop assigns to or deletes."""
    return frozenset(
        name
        for each in ast.walk(node)
        for name in (
            [each.id] if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)
            else [getattr(each, "name", None)] if type(each).__name__ in ("MatchAs", "MatchStar")
            else []
        )
        if name
    )  # fmt: skip


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
        else:
            env = assume(env, name, False)
    return env


def _check_steady(gen: Gen, node: ast.AST, before: Env, after: list[Env]) -> None:
    """Note the variables that an iteration leaves bound to what the next one was not compiled for."""
    for env in after:
        for name, binding in before.items():
            if isinstance(binding, Unset):
                continue
            joined = join_bindings(binding, env.get(name))
            if isinstance(joined, Unset):
                gen.facts.unsteady[gen.frame.key, node, name] = joined.why


def compile_for(gen: Gen, node: ast.For) -> None:
    over = gen.value(node.iter)
    if not isinstance(over, Range):
        _unrolled(gen, node, over.elements(gen, node.iter))
        return
    known, iterators = over.constant, gen.target.has("iter_num")
    cost = None if known is None else len(known) * sum(1 for each in node.body for _ in ast.walk(each))
    if cost is not None and cost <= UNROLL:
        _unrolled(gen, node, over.elements(gen, node.iter))
    elif iterators and (cost is None or cost > WALKED):
        _iterated(gen, node, over)
    elif cost is not None and cost > MOST_WALKED and gen.target.has("bounded_loop"):
        count = len(known or ())
        gen.fail(node, f"a loop of {count} iterations is too long for the verifier of this kernel (Linux 6.4 has "
                 "iterators): make it shorter")  # fmt: skip
    else:
        _for_range(gen, node, over)


def _unrolled(gen: Gen, node: ast.For, values: Sequence[Val]) -> None:
    from pybpf.lang.statements import assign_to

    leave = gen.b.new_block("leave")
    for value in values:
        again = gen.b.new_block("next")
        assign_to(gen, node.target, value)
        gen.frame.loops.append(Loop(leave, again))
        gen.statements(node.body)
        gen.frame.loops.pop()
        gen.go(again)
        gen.land(again)
        if not gen.b.reachable:
            break
    gen.statements(node.orelse)
    gen.go(leave)
    gen.land(leave)


def _for_range(gen: Gen, node: ast.For, over: Range) -> None:
    """A range counts by itself where it cannot pass its end; else its iterations are counted."""
    from pybpf.lang.statements import assign_to

    b, counter, at = gen.b, object(), node.iter
    kind = over.kind(gen, at)
    exact = abs(over.step) == 1 or KINDS[kind][0] < 64
    start = over.start.number(gen, at)
    first, last = (start, over.stop.number(gen, at)) if exact else (Int(0, u64), over.count(gen, at))
    up = over.step > 0 or not exact
    compared = s64 if exact and abs(over.step) > 1 else u64 if not exact else kind
    body, done = b.new_block("body"), b.new_block("done")
    b.write(counter, first.operand)

    def begin() -> None:
        now = b.read(counter)
        more = Int(now, compared).compare(gen, "<" if up else ">", Int(last.operand, compared), at)
        gen.branch_on(more, body, done, at)
        gen.land(body)
        if not exact:
            now = b.emit("add", start.operand, b.emit("mul", now, over.step))
        assign_to(gen, node.target, Int(now, kind))

    def step() -> None:
        b.write(counter, b.emit("add", b.read(counter), over.step if exact else 1))

    _loop(gen, node, begin, done, step)


def _iterated(gen: Gen, node: ast.For, over: Range) -> None:
    """By the kernel's iterator of numbers, through whose body the verifier walks until it learns nothing new."""
    from pybpf.lang.statements import assign_to

    b, at, kind = gen.b, node.iter, over.kind(gen, node.iter)
    if over.constant is not None and len(over.constant) > MOST_ITERATIONS:
        gen.fail(at, f"a loop has at most {MOST_ITERATIONS:,} iterations: the kernel allows no more")
    start, count = over.start.number(gen, at), over.count(gen, at)
    most = Int(MOST_ITERATIONS, u64)
    count = choose(gen, Test("ugt", count.operand, MOST_ITERATIONS), most, count, at).number(gen, at)
    state = b.slot(8, "iterator")
    b.emit("kfunc", state, 0, count.operand, name="bpf_iter_num_new")
    body, done = b.new_block("body"), b.new_block("done")

    def begin() -> None:
        number = b.emit("kfunc", state, type=PTR, name="bpf_iter_num_next")
        gen.branch_on(Test("ne", number, 0), body, done, at)
        gen.land(body)
        index = b.emit("load", number, offset=0, size=4, signed=False)
        now = b.emit("add", start.operand, b.emit("mul", index, over.step))
        assign_to(gen, node.target, Int(now, kind))

    def end() -> None:
        b.emit("kfunc", state, type=NONE, name="bpf_iter_num_destroy")

    _loop(gen, node, begin, done, lambda: None, end)
