"""Loops of every length, run by the kernel; and what kernels without some way to loop get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pybpf.compiler.ir import Unit
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.types import s64, u32, u64
from tests.lang.harness import compiled, load

MASK = (1 << 64) - 1


def total(n: u64):
    t = 0
    for i in range(n):
        t += i
    return t


def constant(n: u64):
    t = n
    for i in range(100_000):
        t += i * 3
        if t == 77:
            return 1
    return t


def stepping(n: u64, k: u64):
    for i in range(5, n, 3):
        if i * i > k:
            break
    else:
        return 12345
    return i


def nested(n: u64, k: u64):
    for i in range(n):
        for j in range(n):
            if i * j == k:
                return i
    return 999


def down(n: s64):
    t = 0
    for i in range(n, -5, -2):
        t = t * 3 + i
    return t


def walking(n: u32):
    k = 0
    while k < (n & 1023):
        k += 1
        if k == 500:
            continue
        if k == 900:
            break
    else:
        k += 5
    return k


def unrolled(n: u64):
    t = 0
    for i in range(8):
        if i == 2:
            continue
        for j in (1, 10, 100):
            t += i * j
        if n == i:
            break
    return t


def called(n: u64):
    t = 0
    for i in range(n):
        t += first_above(i, 3)
    return t


def first_above(n, k):
    for i in range(n):
        if i > k:
            return i
    return 0


CASES: list[tuple[Callable[..., Any], list[tuple[int, ...]]]] = [
    (total, [(0,), (10,), (1000,), (100_000,)]),
    (constant, [(1,), (77,)]),
    (stepping, [(3, 0), (10, 500), (100, 500), (100_000, 10**9), (100_000, 10**12)]),
    (nested, [(10, 12), (30, 1000), (300, 7919 * 3)]),
    (down, [(10,), (1000,), (-9,), (-4,)]),
    (walking, [(0,), (10,), (600,), (1023,)]),
    (unrolled, [(3,), (50,)]),
    (called, [(3,), (20,)]),
]


@pytest.mark.root
@pytest.mark.needs("iter_num", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize(("function", "cases"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_loops_run(function: Callable[..., Any], cases: list[tuple[int, ...]]) -> None:
    with load(function) as program:
        for args in cases:
            assert program(*args) == function(*args) & MASK, args


def operations(unit: Unit) -> set[str]:
    return {instr.op for function in unit.functions for block in function.blocks for instr in block.instrs}


def back_edges(unit: Unit) -> int:
    """How many jumps lead back to a block that comes before."""
    blocks = unit.functions[0].blocks
    order = {block: number for number, block in enumerate(blocks)}
    return sum(order[after] <= order[block] for block in blocks for after in block.successors)


@pytest.mark.parametrize(
    ("release", "iterators", "loops"), [("6.4", True, 1), ("6.3", False, 1), ("5.10", False, 1), ("5.3", False, 1)]
)
def test_the_way_to_loop_is_the_kernels(release: str, iterators: bool, loops: int) -> None:
    unit = compiled(total, Target.described(release))
    assert ("kfunc" in operations(unit), back_edges(unit)) == (iterators, loops)


def test_short_constant_loops_are_unrolled() -> None:
    unit = compiled(unrolled, Target.described("4.18"))
    assert back_edges(unit) == 0


def test_a_constant_loop_of_some_length_is_walked_through() -> None:
    def probe(x):
        for i in range(200):
            x += i
        return x

    unit = compiled(probe, Target.described("6.12"))
    assert ("kfunc" in operations(unit), back_edges(unit)) == (False, 1)


@pytest.mark.parametrize(
    ("function", "release", "message"),
    [
        (total, "5.2", "this kernel takes no loops (Linux 5.3 does): iterate over a short constant range, which is "
                       "unrolled"),
        (walking, "4.18", "this kernel takes no loops (Linux 5.3 does): iterate over a short constant range, which is "
                          "unrolled"),
        (constant, "5.10", "a loop of 100000 iterations is too long for the verifier of this kernel (Linux 6.4 has "
                           "iterators): make it shorter"),
    ],
)  # fmt: skip
def test_loops_that_a_kernel_does_not_take(function: Any, release: str, message: str) -> None:
    with pytest.raises(CompileError) as raised:
        compiled(function, Target.described(release))
    assert raised.value.message == message


def test_too_many_iterations() -> None:
    def probe(x):
        for i in range(10_000_000):
            x += i
        return x

    with pytest.raises(CompileError, match="a loop has at most 8,388,608 iterations: the kernel allows no more"):
        compiled(probe, Target.described("6.12"))
