"""Probes that compile and that the kernel's verifier refuses: the line of Python, the reason, what to do.

What the verifier says differs between kernels; of it only the beginning of an expression is compared. Some mistakes
cannot be made in the DSL: builtins of this file make them, as an error of the compiler would.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pybpf import Struct, Tracer, VerifierError, s64, u32, u64
from pybpf.compiler.ops import PTR
from pybpf.compiler.target import Target
from pybpf.lang import ktime_ns
from pybpf.lang.builtins.builtin import builtin
from pybpf.lang.front.gen import Gen
from pybpf.lang.tracer.rejected import advice_in_python
from pybpf.lang.values.ints import Int
from pybpf.lang.values.val import Val
from tests.conftest import IN_VM

pytestmark = [pytest.mark.root, pytest.mark.needs("tracepoint", "ringbuf", "bounded_loop")]


class Pair(Struct):
    """A value."""

    first: u32
    second: s64


host = Target.host()
#: newer kernels have loops that the verifier does not walk through: most rows of loops are of older ones
older = replace(host, has=lambda name: name not in ("iter_num", "helper_loop") and host.has(name))
tracer = Tracer(pid=os.getpid(), target=older)
counts = tracer.hash(u32, u64)
pairs = tracer.hash(u32, Pair)
events = tracer.events(Pair)
slots = tracer.array(u64, 1)


# what the DSL does not let a probe do


def _load(gen: Gen, at: ast.AST, address: Val) -> Val:
    return Int(gen.b.emit("load", address.scalar(gen, at), offset=0, size=8, signed=False), u64)


def _found(gen: Gen, at: ast.AST) -> Val:
    found = gen.b.emit("call", gen.b.emit("map", map=gen.use_map(slots)), _key(gen), helper="map_lookup_elem", type=PTR)
    return Int(gen.b.emit("load", found, offset=0, size=8, signed=False), u64)


def _key(gen: Gen) -> Any:
    slot = gen.b.slot(8, "key")
    gen.b.emit("store", slot, 0, offset=0, size=8)
    return slot


def _inside(gen: Gen, at: ast.AST, index: Val) -> Val:
    address = gen.b.emit("mapvalue", map=gen.use_map(slots), offset=0)
    there = gen.b.emit("add", address, index.scalar(gen, at))
    return Int(gen.b.emit("load", there, offset=0, size=8, signed=False), u64)


def _beyond(gen: Gen, at: ast.AST) -> Val:
    address = gen.b.emit("mapvalue", map=gen.use_map(slots), offset=0)
    return Int(gen.b.emit("load", address, offset=4096, size=8, signed=False), u64)


def _context(gen: Gen, at: ast.AST) -> Val:
    return Int(gen.b.emit("load", gen.ctx, offset=16384, size=8, signed=False), u64)


def _call(name: str) -> Callable[[Gen, ast.AST], Val]:
    return lambda gen, at: Int(gen.b.emit("call", gen.ctx, 0, helper=name), u64)


def _sized(gen: Gen, at: ast.AST, size: Val) -> Val:
    done = gen.b.emit("call", gen.b.slot(16, "name"), size.scalar(gen, at), helper="get_current_comm")
    return Int(done, u64)


@builtin(_load)
def load(address: Any) -> int:
    """Read a number as if it were memory."""
    raise NotImplementedError


@builtin(_found)
def found() -> int:
    """Read what a lookup gave, without a check."""
    raise NotImplementedError


@builtin(_inside)
def inside(index: Any) -> int:
    """Read a map's value at any offset."""
    raise NotImplementedError


@builtin(_beyond)
def beyond() -> int:
    """Read behind a map's value."""
    raise NotImplementedError


@builtin(_context)
def context() -> int:
    """Read behind the context."""
    raise NotImplementedError


@builtin(_call("override_return"))
def override() -> int:
    """Call a helper that is for kprobes only."""
    raise NotImplementedError


@builtin(_sized)
def sized(size: Any) -> int:
    """Call a helper with a size of run time."""
    raise NotImplementedError


# the probes; the marked line is the one that the error is to name


def reserved_and_kept(args):  # <-
    event = events.reserve()
    if event is None:
        return
    event.first = 1
    if args.pid & 1:
        events.submit(event)
    if args.pid & 2:
        events.discard(event)  # <-


def submitted_twice(args):
    event = events.reserve()
    if event is None:
        return
    if args.pid & 1:
        events.submit(event)
    events.submit(event)  # <-


def used_after_submit(args):
    event = events.reserve()
    if event is None:
        return
    if args.pid & 1:
        events.submit(event)
    event.first = 3  # <-
    if not args.pid & 1:
        events.discard(event)


def waits_for_the_clock(args):
    end = ktime_ns() + 1000
    while ktime_ns() < end:
        counts[1] += 1  # <- loop


def never_ends(args):
    x = args.pid
    while x != 5:  # <- loop
        x = x * 1
    counts[x] = 1


def counts_too_far(args):
    i, x = 0, u64(args.pid)
    while i < 10_000_000:  # <- loop
        i += 1
        if i & 3:
            x ^= i
    counts[x] = 1


def counts_down(args):
    x = u64(args.pid)
    while x:  # <- loop
        x -= 1
    counts[x] = 1


def helper_function(x):
    return load(x) + 1  # <-


def in_a_called_function(args):
    counts[1] = helper_function(u64(args.pid))


def number_as_memory(args):
    counts[1] = load(args.pid + 8)  # <-


def not_compared_with_none(args):
    counts[1] = found()  # <-


def unbounded_index(args):
    counts[1] = inside(u64(args.pid))  # <-


def negative_index(args):
    counts[1] = inside(args.pid)  # <-


def behind_the_value(args):
    counts[1] = beyond()  # <-


def behind_the_context(args):
    counts[1] = context()  # <-


def helper_of_others(args):
    counts[1] = override()  # <-


def size_of_run_time(args):
    counts[1] = sized(args.pid)  # <-


MISSING = "the value may be missing on one of the ways that lead here: write 'if x is None: return' before it is used"
LEAK = (
    "what reserve() gave must be passed to submit() or discard() once on every way out of the function, 'return' and "
    "the end of a loop included"
)
GONE = "submit() and discard() take what reserve() gave, once: it is gone afterwards"
NO_MEMORY = (
    "this is no memory that the probe may use here: an event is gone after submit() or discard(), a value may be "
    "missing where it was not compared with None, and an address is read by read_kernel(...) or read_user(...)"
)
ENDLESS = (
    "for all the verifier of this kernel knows the loop never ends: give it an end, as in 'for i in range(n & 63):', "
    "and 'break' where it may end early"
)
COMPLEX = (
    "the verifier of this kernel follows every turn of every loop and every way through its 'if's, and gave up: bound "
    "the loop, as in 'for i in range(n & 63):', and take 'in' and path() out of it"
)
INDEX = "the verifier cannot prove that the index stays inside: write x[i & 15], say, or 'if i < 16:' right before"
NEGATIVE = "the number may be negative for all the verifier knows: write u32(x), or 'if x < 0: return' right before"
CONTEXT = "the probe has no such parameter on this kernel: take away the last ones, or say their types"
HELPER = "tracepoint programs cannot call bpf_override_return on this kernel"

#: probe, the verifier's reason, advice: one of several where kernels differ
ROWS: list[tuple[Callable[..., Any], str, tuple[str, ...]]] = [
    (reserved_and_kept, "reference|Unreleased|R1 type=|R1 must|release|expected", (LEAK, GONE)),
    (submitted_twice, "R1 type=|R1 must|release|expected", (GONE,)),
    (used_after_submit, "invalid mem access '(?:inv|scalar)'", (NO_MEMORY,)),
    (waits_for_the_clock, "loop|large|complex", (ENDLESS, COMPLEX)),
    (never_ends, "loop|large|complex", (ENDLESS, COMPLEX)),
    (counts_too_far, "large|complex", (COMPLEX,)),
    (counts_down, "large|complex", (COMPLEX,)),
    (in_a_called_function, "invalid mem access '(?:inv|scalar)'", (NO_MEMORY,)),
    (number_as_memory, "invalid mem access '(?:inv|scalar)'", (NO_MEMORY,)),
    (not_compared_with_none, "map_value_or_null", (MISSING,)),
    (unbounded_index, "unbounded memory access|min value|math between|outside|out of bounds", (INDEX, NEGATIVE)),
    (negative_index, "min value is negative|unbounded min value|math between|outside|out of bounds", (INDEX, NEGATIVE)),
    (behind_the_value, "invalid access to map value|outside", (INDEX,)),
    (behind_the_context, "invalid bpf_context access", (CONTEXT,)),
    (helper_of_others, "unknown func|cannot use helper|invalid func", (HELPER,)),
    (size_of_run_time, "min value is negative|unbounded|zero-sized", (NEGATIVE, INDEX)),
]
# Walking through a million instructions takes an emulated processor minutes.
ROWS = [row for row in ROWS if not (IN_VM and row[2] == (COMPLEX,))]


def marked(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """The marked lines of a function of this file as errors write them; whether it is any line of a loop."""
    lines, first = inspect.getsourcelines(helper_function if function is in_a_called_function else function)
    loop = any("# <- loop" in line for line in lines)
    return [
        f"{__file__}:{first + number}: {line.strip()}"
        for number, line in enumerate(lines)
        if "# <-" in line or (loop and number)
    ], loop


@pytest.mark.parametrize(("function", "reason", "advice"), ROWS, ids=lambda value: getattr(value, "__name__", ""))
def test_says_where_why_and_what_to_do(function: Callable[..., Any], reason: str, advice: tuple[str, ...]) -> None:
    tracer.declared.clear()
    tracer.tracepoint("syscalls:sys_enter_kill")(function)
    with pytest.raises(VerifierError) as raised:
        tracer.attach()
    error = raised.value
    sources, _ = marked(function)
    assert error.source in sources
    assert re.search(reason, error.cause)
    assert error.advice in advice
    assert str(error) == (
        f"cannot load tracepoint program {function.__name__!r}: {error.cause}\n"
        f"  at instruction {error.insn_index}: {error.insn}\n"
        f"  from {error.source}\n"
        f"  {error.advice}"
    )
    assert error.log


@pytest.mark.parametrize(("reason", "advice"), [
    ("combined stack size of 3 calls is 544. Too large", "the functions that call each other"),
    ("invalid read from stack R2 off -16+0 size 16", "a variable is read that has no value"),
    ("R3 !read_ok", "a variable is read that has no value"),
    ("back-edge from insn 9 to 4", "this kernel takes no loops"),
    ("R1 pointer arithmetic with *= operator prohibited", "an address that the kernel watches over"),
    ("R1 invalid mem access 'trusted_ptr_or_null_'", "the value may be missing"),
    ("R2 invalid mem access 'ptr_or_null_'", "the value may be missing"),
    ("something else", ""),
])  # fmt: skip
def test_advice_of_reasons_that_this_kernel_does_not_give(reason: str, advice: str) -> None:
    found = advice_in_python(reason, host)
    assert found.startswith(advice) and bool(found) == bool(advice)


def test_advice_is_what_the_kernel_can_do() -> None:
    """A kernel with loops of its own does not walk through 'for'; one without is not told to use what it lacks."""
    newer, older = Target.described("6.12"), Target.described("5.10")
    for reason in ("BPF program is too large. Processed 1000001 insn", "The sequence of 8193 jumps is too complex."):
        assert advice_in_python(reason, older) == COMPLEX
        assert advice_in_python(reason, newer) == (
            "the verifier follows every way through the 'if's of the probe and of its loops, and gave up: ask less in "
            "the loop that this line is in, or count there and decide behind it, or split the probe into two"
        )
    assert advice_in_python("infinite loop detected at insn 9", older) == ENDLESS
    assert "range(n):" in advice_in_python("infinite loop detected at insn 9", newer)
