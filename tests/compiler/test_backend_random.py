"""Random programs do in the kernel what the interpreter says, whatever target they are compiled for."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.compiler import pipeline
from pybpf.compiler.build import Builder
from pybpf.compiler.ir import Function, Unit
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from tests.compiler.machines import new_unit, random_arguments, random_unit, run_in_kernel, run_in_python

SEEDS = st.integers(0, 1 << 32)


def same(make: Callable[[], Unit], target: Target, args: list[int]) -> None:
    """A unit, made anew for each, gives the same both ways."""
    expected = run_in_python(make(), args)
    assert run_in_kernel(compile_unit(make(), target, check=True), args) == expected


@pytest.mark.needs("cpu_v4", "test_run_raw_tp")
@settings(max_examples=min(60, settings.default.max_examples))
@given(SEEDS, st.sampled_from([2, 5, 9, 16, 33]), st.sampled_from([8, 20, 40]))
def test_random_programs(seed: int, variables: int, statements: int) -> None:
    target = Target.described("6.18")
    same(lambda: random_unit(seed, variables, statements), target, random_arguments(seed))


@pytest.mark.needs("test_run_raw_tp")
@settings(max_examples=min(20, settings.default.max_examples))
@given(SEEDS, st.sampled_from(["4.18", "5.4", "5.10"]), st.sampled_from([3, 12, 30]))
def test_random_programs_for_old_kernels(seed: int, release: str, variables: int) -> None:
    target = Target.described(release)
    same(lambda: random_unit(seed, variables, 20, atomics=False), target, random_arguments(seed))


@pytest.mark.needs("cpu_v4", "helper_loop", "test_run_raw_tp")
@settings(max_examples=min(40, settings.default.max_examples))
@given(SEEDS, st.sampled_from([2, 5, 9, 16]), st.sampled_from([10, 25]))
def test_random_programs_with_callbacks(seed: int, variables: int, statements: int) -> None:
    target = Target.described("6.18")
    same(lambda: random_unit(seed, variables, statements, callbacks=True), target, random_arguments(seed))


#: no pass turns slots into values
LOWERING = tuple(each for each in pipeline.PASSES if each[0].startswith("lower"))


@pytest.mark.needs("cpu_v4", "test_run_raw_tp")
@settings(max_examples=min(25, settings.default.max_examples))
@given(SEEDS, st.sampled_from([3, 6, 10]), st.sampled_from([288, 384, 512]))
def test_slots_that_share_memory_or_leave_the_stack(seed: int, variables: int, stack: int) -> None:
    target = Target.described("6.18")
    with mock.patch.object(pipeline, "PASSES", LOWERING), mock.patch.object(pipeline, "STACK", stack):
        same(lambda: random_unit(seed, variables, 40), target, random_arguments(seed))


#: the same, but for what lets the kernel call loops
OUTLINING = tuple(each for each in pipeline.PASSES if each[0].startswith(("lower", "outline")))


@pytest.mark.needs("cpu_v4", "helper_loop", "test_run_raw_tp")
@settings(max_examples=min(25, settings.default.max_examples))
@given(SEEDS, st.sampled_from([2, 4, 7]), st.booleans())
def test_callbacks_and_functions_pass_scratch_memory_on(seed: int, variables: int, atomics: bool) -> None:
    target = Target.described("6.18", without=[] if atomics else ["atomics"])
    with mock.patch.object(pipeline, "PASSES", OUTLINING), mock.patch.object(pipeline, "STACK", 384):
        same(lambda: random_unit(seed, variables, 30, atomics, callbacks=True), target, random_arguments(seed))


def rotating(variables: int, step: int, calls: bool) -> Unit:
    """A loop that passes values around in a ring: phis that depend on each other in a circle."""
    function = Function("prog")
    unit = new_unit(function)
    b = Builder(function)
    ctx = b.param(0)
    for number in range(variables):
        b.write(number, b.emit("add", b.emit("load", ctx, offset=8 * (number % 6), size=8, signed=0), number))
    head, body, done = b.new_block("head"), b.new_block("body"), b.new_block("done")
    b.write("i", 0)
    b.jump(head)
    b.start(head)
    b.branch("ult", b.read("i"), 5, body, done)
    b.seal(body)
    b.start(body)
    values = [b.read(number) for number in range(variables)]
    if calls:
        b.emit("call", helper="get_smp_processor_id")
    for number in range(variables):
        b.write(number, values[(number + step) % variables])
    b.write("i", b.emit("add", b.read("i"), 1))
    b.jump(head)
    b.seal(head)
    b.seal(done)
    b.start(done)
    state = b.emit("mapvalue", map="state", offset=0)
    for number in range(min(variables, 32)):
        b.emit("store", state, b.read(number), offset=8 * number, size=8)
    b.ret(0)
    b.finish()
    return unit


@pytest.mark.needs("test_run_raw_tp")
@pytest.mark.parametrize("calls", [False, True])
@pytest.mark.parametrize(("variables", "step"), [(2, 1), (4, 1), (5, 2), (9, 1), (10, 5), (11, 3), (32, 1), (32, 8)])
def test_circles_of_phis(variables: int, step: int, calls: bool) -> None:
    same(lambda: rotating(variables, step, calls), Target.described("6.18"), [3, 1 << 40, -7, 0, 12, -1])


@pytest.mark.needs("test_run_raw_tp")
@pytest.mark.parametrize("variables", [4, 5, 30, 45])
def test_more_values_across_calls_than_registers_survive(variables: int) -> None:
    def make() -> Unit:
        function = Function("prog")
        b = Builder(function)
        ctx = b.param(0)
        state = b.emit("mapvalue", map="state", offset=0)
        values = [
            b.emit("mul", b.emit("load", ctx, offset=8 * (number % 6), size=8, signed=0), number + 1)
            for number in range(variables)
        ]
        for turn in range(4):
            b.emit("call", helper="get_smp_processor_id")
            values = [b.emit("xor", value, values[(at * 7 + turn) % variables]) for at, value in enumerate(values)]
        for at, value in enumerate(values):
            b.emit("store", state, value, offset=at % 32 * 8, size=8)
        b.ret(values[0])
        b.finish()
        return new_unit(function)

    same(make, Target.described("6.18"), [3, 1 << 40, -7, 1, 12, -1])
