"""Loops of every length, run by the kernel; and what kernels without some way to loop get."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from pybpf import Tracer
from pybpf.compiler.ir import Unit
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.lang.state.maps import Array
from pybpf.types import Struct, s64, u32, u64
from tests.lang.harness import compiled, load
from tests.lang.sharing import Shared

MASK = (1 << 64) - 1


class Cell(Struct):
    count: u64
    least: u64


shared = Shared()
cells = Array(Cell, 4, shared.counts, "cells")


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


def bits_set(n: u64):
    t = 0
    while n:
        t += 1
        n &= n - 1
    return t


def stepping_far(n: u64):
    k = 0
    while k < n:
        k += 3
        if k == 3000:
            continue
        if k > 1_000_000:
            break
    else:
        k += 5
    return k


def counting_in_memory(n: u64):
    seen: u64[8] = u64[8]()
    k = 0
    while k < n:
        seen[k & 7] += k
        k += 1
        if seen[3] > 1_000_000:
            return 17
    return seen[1] * 3 + seen[7]


def leaving_all(n: u64):
    for i in range(n):
        for j in range(i):
            if i * j > 100:
                return i + j
            if j == 77:
                break
        else:
            n += 1
    return n


def deep(n: u64):
    t = n
    for i in range(100):
        for j in range(100):
            for k in range(50):
                t += i ^ j ^ k
    return t


def first_is_special(n: u64):
    """What only the first turn knows must not be all that the verifier sees."""
    last, before = 0, 7
    for i in range(n):
        if before == i:
            last += 1000
        if last > 5:
            last += 2
        before = last
        last += 1
    return last * 100 + before


#: function -> arguments; what runs on a kernel where the verifier must walk through every turn comes first
SHORT: list[tuple[Callable[..., Any], list[tuple[int, ...]]]] = [
    (walking, [(0,), (10,), (600,), (1023,)]),
    (unrolled, [(3,), (50,)]),
    (bits_set, [(0,), (5,), (MASK,)]),
]
CASES: list[tuple[Callable[..., Any], list[tuple[int, ...]]]] = [
    *SHORT,
    (total, [(0,), (10,), (1000,), (100_000,)]),
    (constant, [(1,), (77,)]),
    (stepping, [(3, 0), (10, 500), (100, 500), (100_000, 10**9), (100_000, 10**12)]),
    (nested, [(10, 12), (30, 1000), (300, 7919 * 3)]),
    (down, [(10,), (1000,), (-9,), (-4,)]),
    (called, [(3,), (20,)]),
    (stepping_far, [(0,), (1000,), (10_000_000,)]),
    (leaving_all, [(0,), (5,), (50,)]),
    (deep, [(3,)]),
    (first_is_special, [(0,), (1,), (2,), (5,), (100,)]),
]
BY_CALLBACK = ("iter_num",)


def expected(function: Callable[..., Any], args: tuple[int, ...]) -> int:
    result: int = function(*args) & MASK
    return result


@pytest.mark.root
@pytest.mark.needs("iter_num", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize(("function", "cases"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_loops_run(function: Callable[..., Any], cases: list[tuple[int, ...]]) -> None:
    with load(function) as program:
        for args in cases:
            assert program(*args) == expected(function, args), args


@pytest.mark.root
@pytest.mark.needs("helper_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize(("function", "cases"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_loops_run_as_callbacks(function: Callable[..., Any], cases: list[tuple[int, ...]]) -> None:
    with load(function, without=BY_CALLBACK) as program:
        for args in cases:
            assert program(*args) == expected(function, args), args


@pytest.mark.root
@pytest.mark.needs("bounded_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize(("function", "cases"), SHORT[:2], ids=lambda each: getattr(each, "__name__", ""))
def test_loops_run_walked_through(function: Callable[..., Any], cases: list[tuple[int, ...]]) -> None:
    with load(function, without=("iter_num", "helper_loop")) as program:
        for args in cases:
            assert program(*args) == expected(function, args), args


def filled(n: u64) -> int:
    sums = [0] * 8
    for k in range(n):
        sums[k & 7] += k
        if sums[3] > 1_000_000:
            return 17
    return sums[1] * 3 + sums[7]


@pytest.mark.root
@pytest.mark.needs("helper_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize("without", [(), BY_CALLBACK])
def test_loops_change_memory(without: tuple[str, ...]) -> None:
    with load(counting_in_memory, without=without) as program:
        for n in (0, 100, 10_000):
            assert program(n) == filled(n)


@pytest.mark.root
@pytest.mark.needs("helper_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize("without", [(), BY_CALLBACK])
def test_a_range_has_all_of_its_numbers(without: tuple[str, ...]) -> None:
    """More than an iterator of the kernel has, and just as many."""
    with load(total, without=without) as program:
        for n in ((1 << 23) - 1, 1 << 23, (1 << 23) + 1, (1 << 24) + 12345):
            assert program(n) == n * (n - 1) // 2, n


@pytest.mark.root
@pytest.mark.needs("helper_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize("without", [(), BY_CALLBACK])
def test_a_while_loop_ends_after_its_most_turns(without: tuple[str, ...]) -> None:
    def endless(n: u64):
        t = 0
        while n < 5:
            t += 1
            n ^= 0
        return t

    with load(endless, without=without) as program:
        assert (program(5), program(4)) == (0, 1 << 23)


@pytest.mark.root
@pytest.mark.native
def test_a_while_loop_that_is_cut_is_counted() -> None:
    tracer = Tracer(pid=os.getpid())
    turns = tracer.variable(u64)

    @tracer.tracepoint("syscalls:sys_enter_kill")
    def on_kill(args):
        n = 0
        while args.sig == n & 0:
            n += 1
        while n < args.sig:
            n += 1
        turns.value = n

    with tracer:
        os.kill(os.getpid(), 0)
        assert (turns.value, tracer.cut) == (1 << 23, 1)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert (turns.value, tracer.cut) == (signal.SIGCHLD, 1)
    assert tracer.cut == 1


def least_and(i):
    return cells[2].least + i


def of_a_cell(number: u64):
    """Elements of an array in the condition of a loop, in the loop, and in what it calls."""
    t = 0
    while cells[1].least < number:
        cells[1].least += 1
        for i in range(number):
            if i == 7:
                return t
            t += least_and(i) + cells[0].count
    return t + 1


@pytest.mark.root
@pytest.mark.needs("helper_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize("without", [(), BY_CALLBACK])
def test_elements_of_arrays_in_loops(without: tuple[str, ...]) -> None:
    if without == BY_CALLBACK and Target.host().has("iter_num"):
        pytest.skip("the kernel has iterators: its loops of any length are no callbacks, which 7.3 follows too far")
    with shared.load(of_a_cell, cells, without=without) as program:
        cells[0], cells[2] = Cell(count=100), Cell(least=10)
        assert program(3) == 3 * (110 + 111 + 112) + 1
        assert program(9) == sum(range(110, 117))
        assert cells[1].least == 4


def test_no_way_out_of_a_loop_keeps_its_iterator() -> None:
    """An element is always found; but where the verifier does not know that, the ways on which it is not end too."""
    function = compiled(of_a_cell, Target.described("6.12")).functions[0]
    absent = [block for block in function.blocks if block.name.startswith("absent")]
    ended = [sum(instr.attrs.get("name") == "bpf_iter_num_destroy" for instr in block.instrs) for block in absent]
    assert set(ended) == {1, 3}  # a condition has no more turns than one iterator


def operations(unit: Unit) -> set[str]:
    return {instr.op for function in unit.functions for block in function.blocks for instr in block.instrs}


def back_edges(unit: Unit) -> int:
    """How many jumps lead back to a block that comes before."""
    blocks = unit.functions[0].blocks
    order = {block: number for number, block in enumerate(blocks)}
    return sum(order[after] <= order[block] for block in blocks for after in block.successors)


@pytest.mark.parametrize(
    ("release", "way"),
    [("6.4", "kfunc"), ("6.3", "again"), ("5.17", "again"), ("5.16", ""), ("5.10", ""), ("5.3", "")],
)
@pytest.mark.parametrize("function", [total, bits_set])
def test_the_way_to_loop_is_the_kernels(release: str, way: str, function: Any) -> None:
    unit = compiled(function, Target.described(release))
    assert operations(unit) & {"kfunc", "again"} == ({way} if way else set())
    assert back_edges(unit) >= 1


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_a_callback_is_a_function_of_its_own(arch: str) -> None:
    target = Target.described("6.1", arch)
    unit = compiled(leaving_all, target)
    code = compile_unit(unit, target, check=True).spec.code
    assert sum("call bpf_loop" in line or "call loop" in line for line in str(code).splitlines()) == 4


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
        (constant, "5.10", "a loop of 100000 iterations is too long for the verifier of this kernel (Linux 5.17 has "
                           "bpf_loop): make it shorter"),
    ],
)  # fmt: skip
def test_loops_that_a_kernel_does_not_take(function: Any, release: str, message: str) -> None:
    with pytest.raises(CompileError) as raised:
        compiled(function, Target.described(release))
    assert raised.value.message == message


NAMES = (30, 10, 20)


def enumerated(n: u64):
    t = 0
    for i, each in enumerate(NAMES, start=1):
        t += i * each + n
    return t


def zipped(n: u64):
    t = n
    for a, b in zip((n, 2, 3), NAMES):
        t = t * 7 + a * b
    for a, (b, c) in enumerate(zip(range(2), (5, n))):
        t += a * b * c
    return t


def backwards(n: u64):
    t = n
    for each in reversed(sorted(NAMES)):  # noqa: C413
        t = t * 3 + each
    for i in reversed(range(4)):
        t = t * 3 + i
    return t


@pytest.mark.root
@pytest.mark.needs("map_value", "test_run_raw_tp")
@pytest.mark.parametrize("function", [enumerated, zipped, backwards])
def test_sequences_of_sequences(function: Any) -> None:
    with load(function) as program:
        assert [program(n) for n in (0, 5)] == [expected(function, (n,)) for n in (0, 5)]


def test_elements_of_arrays_are_enumerated() -> None:
    def probe(n: u64):
        values = u64[3]()
        for i, each in enumerate(values):
            values[i] = each + n
        return values[2]

    assert back_edges(compiled(probe, Target.described("4.18"))) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("enumerate(range(n))", "enumerate() of a range of run time is not compiled: count in a variable of its own"),
        ("zip(range(1000), NAMES)", "zip() of a range of 1000 numbers is not compiled: write 'for i in range(n):' and "
                                    "index each by i"),
        ("zip(NAMES, (1, 2), strict=True)", "zip() of sequences of 3, 2 elements, which strict forbids"),
        ("reversed(range(n))", "reversed() of a range of run time is not compiled: write 'range(last, first - 1, -1)'"),
        ("sorted((n, 2))", "sorted() takes constants in a probe, and no key: sort in Python what the probe sends"),
        ("sorted(NAMES, key=None)", "sorted() takes constants in a probe, and no key: sort in Python what the probe "
                                    "sends"),
        ("enumerate(n)", "a u64 cannot be gone through: range(...), arrays and tuples can"),
        ("enumerate(NAMES, n)", "enumerate() takes a sequence, and a constant to start at"),
        ("reversed()", "reversed() takes one sequence"),
    ],
)  # fmt: skip
def test_sequences_that_are_refused(text: str, message: str) -> None:
    source = f"def probe(n):\n    for each in {text}:\n        n += 1\n    return n\n"
    names: dict[str, Any] = {"NAMES": NAMES}
    exec(source, names)
    with pytest.raises(CompileError) as raised:
        compiled(names["probe"], Target.described("6.12"), source=source)
    assert raised.value.message == message
