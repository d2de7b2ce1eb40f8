"""Statements, names, constants and calls: a probe gives what Python gives, in the interpreter and in the kernel."""

from __future__ import annotations

import enum
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pybpf import types
from pybpf.compiler.check import check
from pybpf.compiler.ir import Unit
from pybpf.compiler.target import Target
from pybpf.lang.front import outline
from pybpf.types import bool_, s8, s32, s64, u8, u16, u32, u64
from tests.compiler.interp import Machine
from tests.lang.harness import RESULT, compiled, load

MASK = (1 << 64) - 1
NEWEST = Target.described("6.12")
THRESHOLD = 100
DEBUG = False
NAMES = ("a", "bc", "def")
alias = abs
limits = types  # a module under another name


class Color(enum.IntEnum):
    RED = 1
    GREEN = 2


class Options(enum.IntFlag):
    FAST = 1
    LOUD = 4


class Config:
    limit = 7

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def scaled(self, x):
        return x * self.factor + self.limit


CONFIG = Config(3)


def interpreted(unit: Unit, *args: int) -> int:
    machine = Machine(unit)
    context = struct.pack("=12Q", *(each & MASK for each in (*args, *[0] * (12 - len(args)))))
    machine.run(machine.memory(context).address)
    return int.from_bytes(machine.contents()[RESULT][bytes(4)], "little")


def size_of(unit: Unit) -> int:
    return sum(len(block.instrs) for function in unit.functions for block in function.blocks)


def globals_and_constants(x: u64):
    if DEBUG:
        return unknown_name(x)  # noqa: F821  dead: never looked at
    if x > THRESHOLD:
        return len(NAMES) + len(NAMES[2]) + Color.GREEN + (Options.FAST | Options.LOUD)
    return alias(-5) + limits.u8(300) + max(1, 2) + ord("a") + int("12") + 2**10


def attributes(x: u64):
    return CONFIG.limit + CONFIG.factor * x + CONFIG.scaled(x)


def chained(x: s64, y: s64):
    a = b = x + 1
    a += 1
    if 0 < x <= y < 50:
        return a * b
    return a - b


def short_circuit(x: s64, y: s64):
    z = x and y
    w = x or y
    if not (x and y) or z == 3:
        w += 100
    return w * 1000 + z


def walrus(x: u64, y: u64):
    if (d := x - y) > 10 and (e := d * 2):
        return d + e
    return d


def tuples(x: u64, y: u64):
    x, y = y, x
    (a, b), c = (x, y + 1), 7
    pair = (a, b, c)
    return pair[0] * 100 + pair[1] * 10 + pair[-1] + len(NAMES[1:])


def membership(x: u32):
    if x in (1, 5, Color.GREEN):
        return 1
    if x in range(10, 20):
        return 2
    if x not in range(100):
        return 3
    return 4


def helper(x, y=5, *, z: u8 = 1):
    if x > 10:
        return x + y
    if y == 6:
        return z
    return x * y - z


def calls(x: u32):
    return helper(x) + helper(x, 6) + helper(y=7, x=x) + helper(x, z=200)


def nothing(x):
    return


def returns_none(x):
    nothing(x)
    if x == 5:
        return
    if nothing(x) is None:
        return 3


def signs(x: s32, y: u32):
    if x < y:
        return 1
    if x == y:
        return 2
    return 3


def fields(x: s64):
    a: s8 = x
    b: u16 = x
    c: bool = x
    d: bool_ = x & 1
    e = s32(x)
    return a + b * 2 + c * 4 + d * 8 + e * 16


def deletes(x):
    y = x
    del y
    y = 3
    return y + x


def conditional(x: s64):
    return (1 if x > 0 else -1 if x < 0 else 0) * 10 + min(x, 5, 7) + max(x, -3) + abs(x)


def powers(x: u32):
    return x**3 + x**0 + (1 << x % 20)


CASES: list[tuple[Callable[..., Any], list[tuple[int, ...]]]] = [
    (globals_and_constants, [(5,), (101,)]),
    (attributes, [(0,), (9,)]),
    (chained, [(0, 5), (4, 40), (4, 60), (9, 3)]),
    (short_circuit, [(0, 0), (3, 0), (0, 4), (2, 3), (5, 6)]),
    (walrus, [(50, 10), (12, 10)]),
    (tuples, [(3, 4)]),
    (membership, [(1,), (2,), (3,), (10,), (19,), (20,), (100,)]),
    (calls, [(3,), (11,)]),
    (signs, [(-1, 5), (5, 5), (6, 5), (-1, (1 << 32) - 1)]),
    (deletes, [(4,)]),
    (conditional, [(0,), (5,), (-5,), (100,)]),
    (powers, [(0,), (7,), (1000,)]),
]


@pytest.mark.parametrize(("function", "cases"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_as_python(function: Callable[..., Any], cases: list[tuple[int, ...]]) -> None:
    unit = compiled(function, NEWEST)
    check(unit)
    for args in cases:
        assert interpreted(unit, *args) == function(*args) & MASK, args


@pytest.mark.root
@pytest.mark.needs("map_value", "test_run_raw_tp")
@pytest.mark.parametrize(("function", "cases"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_as_python_in_the_kernel(function: Callable[..., Any], cases: list[tuple[int, ...]]) -> None:
    with load(function) as program:
        for args in cases:
            assert program(*args) == function(*args) & MASK, args


def run(function: Callable[..., Any], *args: int) -> int:
    unit = compiled(function, NEWEST)
    check(unit)
    return interpreted(unit, *args)


def large(x, limit: u32 = 9):
    if x > limit:
        return u64(x - limit)
    for i in range(4):
        x += i * limit
    return u64(-x)


def calls_often(x: u32):
    return large(x) + large(x * 2, 20) - large(5)


def test_large_functions_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.name for each in compiled(calls_often, NEWEST).functions] == ["calls_often"]
    monkeypatch.setattr(outline, "LARGE", 10)
    unit = compiled(calls_often, NEWEST)
    check(unit)
    assert [each.name for each in unit.functions] == ["calls_often", "large_0"]
    for x in (1, 9, 10, 11, 1000):
        assert interpreted(unit, x) == calls_often(x) & MASK


@pytest.mark.root
@pytest.mark.needs("map_value", "test_run_raw_tp", "subprog")
def test_large_functions_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "LARGE", 10)
    with load(calls_often) as program:
        for x in (1, 9, 10, 11, 1000):
            assert program(x) == calls_often(x) & MASK


def minus(a, b=7, *, c=1):
    return s64(a) * 3 - s64(b) * c


def names_arguments(x: u32):
    return minus(x, 1) + minus(b=2, a=x) * 5 + minus(c=4, b=3, a=x) * 11 + minus(x, c=2)


def perhaps(x, limit):
    if x > limit:
        return None
    return x


def asks_for_none(x: u32):
    return u64(perhaps(x, 5) is None) + u64(perhaps(x, 500) is None) * 2 + (perhaps(x, 50) or 0) * 4


def gives_nothing(x, y):
    z = x * y + 1
    z += y


def asks_nothing(x: u32):
    return u64(gives_nothing(x, 2) is None) + u64(gives_nothing(x, x) is None)


def chosen(x, k):
    y = u64(x) if k else undefined_if_it_is_compiled  # noqa: F821
    return (10, 20, 30)[k] + y


def gives_constants(x: u32):
    return chosen(x, 1) + chosen(x, 2) * 3


def differs_in_sign(x, y):
    return x * 2 + y


def gives_both_signs(x: u32):
    return u64(differs_in_sign(u64(x) << 62, 1) >> 1) + u64(differs_in_sign(s32(x) - 20, 1))


@pytest.mark.parametrize(
    ("function", "once"),
    [(names_arguments, True), (asks_for_none, False), (asks_nothing, True), (gives_constants, False),
     (gives_both_signs, False)],
)  # fmt: skip
def test_compiled_once_or_in_each_place_it_is_the_same(
    function: Any, once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that cannot be compiled once for all its calls is compiled in the place of each."""
    monkeypatch.setattr(outline, "LARGE", 10_000)
    places = compiled(function, NEWEST)
    monkeypatch.setattr(outline, "LARGE", 5)
    unit = compiled(function, NEWEST)
    check(unit)
    assert len(places.functions) == 1 and len(unit.functions) == 1 + once
    for x in (0, 1, 6, 51, 1000):
        assert interpreted(unit, x) == interpreted(places, x)
        if function is not gives_both_signs:  # Python's integers have no end
            assert interpreted(unit, x) == function(x) & MASK


def test_none_is_returned_as_0() -> None:
    assert (run(returns_none, 5), run(returns_none, 6)) == (0, 3)


def test_annotated_variables_keep_their_low_bits() -> None:
    x = 0x1_2345_67F9
    s8_, u16_, s32_ = 0xF9 - 256, 0x67F9, 0x2345_67F9
    assert run(fields, x) == s8_ + u16_ * 2 + 4 + 8 + s32_ * 16


def test_closures_and_defaults() -> None:
    def made(limit: int) -> Callable[..., Any]:
        def probe(x: u64):
            return x if x < limit else limit

        return probe

    assert [run(made(limit), 10) for limit in (5, 50)] == [5, 10]


def test_methods_are_bound() -> None:
    assert run(CONFIG.scaled, 5) == 22


def test_lambdas() -> None:
    assert run(lambda x: x * 2 + 1, 5) == 11


def test_constants_fold_and_dead_branches_vanish() -> None:
    def long(x):
        if DEBUG:
            x = helper(x) * helper(x + 1)
        while DEBUG:
            x += 1
        return x if (not DEBUG and THRESHOLD > 5) or x else 3

    def short(x):
        return x

    def blocks(unit: Unit) -> set[str]:
        return {instr.op for block in unit.functions[0].blocks for instr in block.instrs} - {"jump"}

    assert blocks(compiled(long, NEWEST)) == blocks(compiled(short, NEWEST))


def test_every_instruction_has_a_line() -> None:
    unit = compiled(calls, NEWEST)
    first = calls.__code__.co_firstlineno
    lines = set()
    for block in unit.functions[0].blocks:
        for instr in block.instrs:
            if instr.op not in ("param", "slot", "phi"):  # which are no code of their own
                assert instr.line is not None, instr
                assert instr.line.file == __file__
                lines.add(instr.line.line)
    assert first + 1 in lines and lines & set(range(helper.__code__.co_firstlineno, first))


def test_a_variable_has_the_type_that_holds_all_values() -> None:
    def counting(n: u64):
        low = 5
        while n > 3:
            low -= 1
            n -= 1
        return low < 0

    assert (run(counting, 9), run(counting, 5)) == (1, 0)


def test_a_constant_may_be_assigned_again() -> None:
    def probe(x: u64):
        text = "yes"
        for _ in range(3):
            text = "yes"
        return text == "yes"

    assert run(probe, 1) == 1


@pytest.mark.skipif(sys.version_info < (3, 10), reason="'match' is of Python 3.10")
def test_match() -> None:
    text = """
def probe(x, y):
    match x:
        case 1 | 2:
            return 10
        case Color.BLUE if y > 5:
            return 20
        case Color.BLUE:
            return 30
        case None:
            return 40
        case other if other > 1000:
            return other
        case _:
            return 50
"""
    names: dict[str, Any] = {"Color": enum.IntEnum("Color", {"BLUE": 3})}
    exec(compile(text, "<match>", "exec"), names)
    unit = compiled(names["probe"], NEWEST, source=text)
    for x in (1, 2, 3, 4, 1001):
        for y in (5, 6):
            assert interpreted(unit, x, y) == names["probe"](x, y)


def test_u64_is_not_mixed_up() -> None:
    def probe(a: u64, b: s64):
        return (b < a) * 1 + (a > b) * 2 + (a == b) * 4 + (a != b) * 8 + (b <= a) * 16 + (a <= b) * 32

    for a, b in ((MASK, -1), (5, -5), (5, 5), (5, 6), (1 << 63, -(1 << 63))):
        assert run(probe, a, b) == probe(a, b)


def compared(x, least) -> s64:
    if x < least:
        return -1
    return x


def test_a_function_says_what_it_returns() -> None:
    def probe(n: u64):
        return compared(n, 5) + 1 == 0

    def changed(n: u64):
        return compared(n, 0) - 10 < 0

    assert [run(probe, n) for n in (3, 7)] == [1, 0]
    assert [run(changed, n) for n in (3, 70)] == [1, 0]


def test_work_grows_with_the_size_of_a_probe() -> None:
    """Counted in calls of functions, which every run makes alike."""

    def calls_made(size: int) -> int:
        text = "def probe(x, y):\n    t = 0\n" + "    if x > t:\n        t += y * 3\n" * size + "    return t\n"
        names: dict[str, Any] = {}
        exec(text, names)
        made = 0

        def count(frame: Any, event: str, arg: Any) -> None:
            nonlocal made
            made += event == "call"

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            compiled(names["probe"], NEWEST, source=text)
        finally:
            sys.setprofile(before)
        return made

    calls_made(10)
    assert calls_made(400) < 4.5 * calls_made(100)
