"""Loops whose turns ask something: no verifier may have to follow every way through all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.lang import comm
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.maps import Array
from pybpf.types import u32, u64
from tests.lang.compare import compare
from tests.lang.harness import compiled, load

pytestmark = [pytest.mark.root, pytest.mark.needs("bounded_loop", "map_value", "test_run_raw_tp")]

MASK = (1 << 64) - 1
#: What kernels have for long loops: all of it; bpf_loop (5.17 to 6.3); nothing (5.3 to 5.16).
KERNELS: dict[str, tuple[str, ...]] = {
    "iterators": (),
    "callbacks": ("iter_num",),
    "neither": ("iter_num", "helper_loop"),
}


def sums(x: u64):
    """Each of its sums is another constant on each way, and is asked about."""
    t = 0
    for i in range(100):
        if x & (1 << (i & 31)):
            t += i * i
        if t > 77:
            t -= 3
    return t


def powers(x: u64):
    """Written out: two to the twenty-fourth sums."""
    t = 0
    for i in range(24):
        if x & (1 << i):
            t += 1 << i
        if t > 1_000_000:
            return 3
    return t


def exchanged(x: u64):
    n, m, k = 1, 7, 3
    for _ in range(32):
        if x & 1:
            n, m, k = m, k, n + 1
        elif x & 2:
            k += n
        else:
            m ^= k
        x >>= 1
        if n == m:
            k = 0
    return n * m + k


def inner(x: u64):
    t = 0
    for i in range(20):
        for j in range(20):
            if x & (1 << (i + j)):
                t += j
            if t > x:
                t = 0
    return t


def compared(x: u64):
    """What the way says of x grows with each turn."""
    t = 0
    for i in range(450):
        if x > i:
            t += 1
    return t


def run_of_some(x: u64):
    t = 0
    for i in range(x & 63):
        if x & (1 << i):
            t += i
        if t == 9:
            t = 1
    return t


def twice(x: u64):
    """A while whose end the verifier sees, and a sum that it must not follow."""
    t, n = 0, 0
    while n < 60:
        n += 1
        if x & (1 << n):
            t += n
        if t & 4:
            t += 1
    return t


FUNCTIONS = [sums, powers, exchanged, inner, compared, run_of_some, twice]
ARGUMENTS = (0, 5, 13, 0x5A5A_1234_9999_0F0F, MASK)


@pytest.mark.parametrize("without", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_way_through_all_turns_is_not_followed(function: Callable[..., Any], without: tuple[str, ...]) -> None:
    with load(function, without=without) as program:
        for x in ARGUMENTS:
            assert program(x) == function(x) & MASK, x


OWN = Path("/proc/thread-self/comm").read_text(encoding="utf-8").strip()
cells = Array(u64, 8, Counts(), "cells")


def asks_six_times(i: u64, x: u64):
    """Each way stores another key, of 4 bytes, and learns other bits of ``x``."""
    if comm() == OWN and i:
        cells[0] += 1
    if comm() == "abd" and x & 2:
        cells[1] += 1
    if comm() == OWN and x & 4:
        cells[2] += 1
    if comm() == "abf" and x & 8:
        cells[3] += 1
    if comm() == OWN and x & 16:
        cells[4] += 1
    if comm() == "abh" and i:
        cells[5] += 1


def names_of_calls(x: u64):
    for i in range(30):
        asks_six_times(i, x)


def names_of_some_calls(x: u64):
    for i in range(x & 31):
        asks_six_times(i, x=x)


class Asker:
    """The same, as a method; and a probe that is a method."""

    def asks(self, i: u64, x: u64):
        asks_six_times(i, x)

    def calls(self, x: u64):
        for i in range(30):
            self.asks(i, x)


def calls_by(call: Callable[..., Any], i: u64, x: u64):
    call(i, x)


asker, here = Asker(), SimpleNamespace(asks=asks_six_times)


def attributes(x: u64):
    for i in range(x & 31):
        here.asks(i, x)


def variables(x: u64):
    asks = asker.asks
    for i in range(30):
        calls_by(asks, i, x)


CALLERS = [names_of_calls, names_of_some_calls, asker.calls, attributes, variables]
#: Loops of any length, which a verifier of 7.3 follows too far where they are callbacks; iterators are preferred there.
OF_ANY_LENGTH = (names_of_some_calls, attributes)


@pytest.mark.parametrize("without", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("function", CALLERS)
def test_what_functions_in_loops_ask_is_not_followed_either(
    function: Callable[..., Any], without: tuple[str, ...]
) -> None:
    if without == KERNELS["callbacks"] and function in OF_ANY_LENGTH and Target.host().has("iter_num"):
        pytest.skip("the kernel has iterators: its loops of any length are no callbacks")
    with load(function, without=without) as program:
        program(0b11110)
        turns = 30
        assert [program.maps["cells"][index] for index in range(6)] == [turns - 1, 0, turns, 0, turns, 0]


def helper(x: u64) -> u64:
    """Many instructions for the few nodes of a call."""
    t = x
    for i in range(30):
        t = t * 3 ^ i
        t += x >> (i & 7)
    return t


def heavy(x: u64):
    t = 0
    for i in range(80):
        t ^= helper(x + i)
    return t


def test_a_loop_is_as_long_as_what_its_body_becomes() -> None:
    """80 calls are few nodes, but thousands of instructions, which are not written out."""
    made = compile_unit(compiled(heavy, Target.described("6.12")), Target.described("6.12"))
    assert made.spec.code.slots < 400
    with load(heavy) as program:
        assert program(7) == heavy(7) & MASK


#: random functions with long loops that are compared
COUNT = 40


@pytest.mark.parametrize("without", KERNELS.values(), ids=KERNELS)
def test_random_long_loops_agree(without: tuple[str, ...]) -> None:
    accepted = sum(compare(seed, long=True, without=without) for seed in range(1000, 1000 + COUNT))
    assert accepted >= COUNT - 4


#: what a turn asks of the integer that turns leave to each other, beside two questions that fork each turn
QUESTIONS = (
    "k == 7 and x == 5", "k == 7 and x", "k == 7 and not x", "k == 7 and x != 0", "k == 7 or x", "x and k == 7",
    "(k if x else 4) > 3",
)  # fmt: skip
#: how the loop begins
HEADS = ("for k in range(60):", "for k in range(i + 40):", "k = 7\n    while x != 1020:")


@pytest.mark.root
@pytest.mark.needs("iter_num", "test_run_raw_tp")
@pytest.mark.parametrize("head", HEADS)
def test_what_a_turn_has_found_out_is_forgotten_in_the_next(head: str) -> None:
    """That ``x`` is 0 on one way would make it another constant in each turn, and each turn a new one."""
    for question in QUESTIONS if head == HEADS[0] else QUESTIONS[:2]:
        text = f"""def probe(i: u32):
    x = i & 1023
    found = turns = 0
    {head}
        turns += 1
        if {question}:
            found += 1
        if x % 2:
            found += 100
        if x % 3:
            found += 10000
        x = (x * 3 + 1) & 1023
        if turns == 500:
            break
    return found + x
"""
        names: dict[str, Any] = {"u32": u32}
        exec(text, names)
        with load(names["probe"], source=text) as program:
            for number in (0, 1, 5, 1000):
                assert program(number) == names["probe"](number), (question, number)
