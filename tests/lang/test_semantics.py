"""Random functions give what the rules of docs/language.md say: IR run in Python, and programs run by the kernel."""

from __future__ import annotations

import os
import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.compiler.check import check
from pybpf.compiler.target import Target
from pybpf.types import s64, u32
from tests.compiler.interp import Machine
from tests.conftest import IN_VM
from tests.lang.compare import made, start
from tests.lang.generate import arguments, function_text
from tests.lang.harness import RESULT, compiled, load
from tests.lang.model import evaluate

#: the newest without iterators, which the interpreter does not have
TARGET = Target.described("6.3")
ROUNDS = 4
#: random functions that are run in the kernel, here and in the guests of tests/vm
EXAMPLES = int(os.environ.get("PYBPF_EXAMPLES") or (60 if IN_VM else 2000))


def interpreted(unit: Any, args: list[int]) -> int:
    """The result of a unit that the harness made, by the interpreter of IR."""
    machine = Machine(unit)
    context = struct.pack("=12Q", *(each & (1 << 64) - 1 for each in (*args, *[0] * (12 - len(args)))))
    machine.run(machine.memory(context).address)
    return int.from_bytes(machine.contents()[RESULT][bytes(4)], "little")


@settings(max_examples=min(100, settings.default.max_examples))
@given(st.integers(0, 1 << 32))
def test_ir_computes_what_the_rules_say(seed: int) -> None:
    text, kinds = function_text(seed)
    unit = compiled(made(text), TARGET, source=text)
    check(unit)
    expected, rng = evaluate(text), random.Random(seed)
    for _ in range(ROUNDS):
        args = arguments(rng, kinds)
        assert interpreted(unit, args) == expected(*args), f"{text}\nprobe{tuple(args)}"


def narrow(n: u32, m: u32):
    total = n + 1
    return (n + 1 - 100 < 0) + 2 * (total - 100 < 0) + 4 * (m - n * 3 < 0) + 8 * (-(n + m) < 0)


def of_wide(stamp, flags):
    return (stamp // 1000 - 5 < 0) + 2 * ((flags & 7) - 8 < 0) + 4 * ((flags >> 40) - (stamp % 9) < 0)


def wraps(one, two: u32):
    total = 0
    for _ in range(2):
        total += one
    return (one - 1 < 0) + 2 * (two * two - 1 < 0) + 4 * (total - 1 < 0) + 8 * (s64(one) - s64(1) < 0)


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (narrow, (5, 7), 15),
        (narrow, ((1 << 32) - 1, (1 << 32) - 1), 12),
        (of_wide, (4999, 5), 7),
        (of_wide, (5000, 1 << 43), 2),
        (wraps, (0, 0), 8),
    ],
)
def test_what_64_bits_hold_is_exact_and_all_else_wraps(function: Any, args: tuple[int, ...], result: int) -> None:
    """The examples of docs/language.md."""
    assert interpreted(compiled(function, TARGET), list(args)) == result


def halved(a: u32):
    s = a * 2
    s += 1
    s -= 3
    return s // 2


def on_one_way(a: u32, d: u32):
    s = a
    s += d
    if d > 3:
        s += 1
    else:
        s -= 3
    return s // 2


def of_either(a: u32, b: u32):
    s = a
    s = s * 31 + b
    s = s + (b & 7) if b > 3 else s - 3
    return s % 3


def joined(a: u32, d: u32):
    s = a * 31
    s = s + 1 if d > 3 else s - 3
    return s % 3


def least(a: u32):
    s = a
    s = s * 2
    s = min(s - 3, s + 1)
    return s < 0


def summed(a: u32):
    s = 0
    for i in range(1000):
        s += i
    return s - 600000 < a


def counted(a: u32):
    n = 0
    while n < 10:
        n += 1
    return n - 20 < a


def doubled(d: u32):
    n = 0
    for i in range(d + 5):
        n = n * 2 + 1
        n = n + 1 if i > 3 else n - 3
    return n % 7


@pytest.mark.root
@pytest.mark.needs("bounded_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize("without", [(), ("iter_num",)], ids=["iterators", "callbacks"])
def test_variables_of_small_numbers_may_become_negative(without: tuple[str, ...]) -> None:
    """Plain Python is what it is compared with: no number here leaves 64 bits."""
    for function, count in (
        (halved, 1), (on_one_way, 2), (of_either, 2), (joined, 2), (least, 1), (summed, 1), (counted, 1),
    ):  # fmt: skip
        with load(function, without=without) as program:
            for args in ((0, 0), (0, 4), (3, 1), (0xFFFF_FFFF, 0xFFF)):
                given_now = args[:count]
                assert program(*given_now, signed=True) == function(*given_now), (function.__name__, given_now)


@pytest.mark.root
@pytest.mark.needs("helper_loop", "map_value", "test_run_raw_tp")
@pytest.mark.parametrize("without", [(), ("iter_num",)], ids=["iterators", "callbacks"])
def test_turns_may_leave_negative_numbers(without: tuple[str, ...]) -> None:
    with load(doubled, without=without) as program:
        for turns in (0, 4, 20):
            assert program(turns, signed=True) == doubled(turns)


@pytest.mark.root
@pytest.mark.needs("map_value", "prog_raw_tracepoint", "bounded_loop", "test_run_raw_tp")
def test_the_kernel_computes_what_the_rules_say() -> None:
    """Other functions on each kernel of tests/vm."""
    first = zlib.crc32(os.environ.get("PYBPF_VM_KERNEL", "").encode())
    running = start(first, EXAMPLES, min(4, os.cpu_count() or 1))
    printed = [each.communicate()[0] for each in running]
    assert not any(each.returncode for each in running), "\n".join(printed)
