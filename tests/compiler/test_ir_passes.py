"""Every pass keeps what a program does: random programs give the same result, maps and outputs before and after."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.compiler.check import check
from pybpf.compiler.midend import PASSES_MID
from pybpf.compiler.ops import OPS
from pybpf.compiler.parse import parse_unit
from pybpf.compiler.target import Target
from pybpf.compiler.text import format_unit
from tests.compiler.programs import outcome, random_unit

TARGETS = {
    "4.18": Target.described("4.18", "x86_64"),
    "5.10": Target.described("5.10", "aarch64"),
    "6.18": Target.described("6.18", "x86_64"),
}
SEEDS = st.integers(0, 1 << 32)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(sorted(TARGETS)))
def test_all_passes_in_their_order(seed: int, release: str) -> None:
    unit = random_unit(seed)
    expected = [outcome(unit, data) for data in range(3)]
    for name, run in PASSES_MID:
        before = format_unit(unit)
        run(unit, TARGETS[release])
        check(unit)
        now = [outcome(unit, data) for data in range(3)]
        assert now == expected, f"{name} changed what this does:\n{before}\nto:\n{format_unit(unit)}"
    lowered = {"sdiv", "smod"} if TARGETS[release].has("cpu_v4") else set()
    for function in unit.functions:
        for block in function.blocks:
            assert all(instr.info.level == "machine" or instr.op in lowered for instr in block.instrs)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_each_pass_alone(seed: int) -> None:
    text = format_unit(random_unit(seed))
    expected = outcome(parse_unit(text), seed)
    for name, run in dict(PASSES_MID).items():
        unit = parse_unit(text)
        run(unit, TARGETS["5.10"])
        check(unit)
        assert outcome(unit, seed) == expected, f"{name} changed what this does:\n{text}\nto:\n{format_unit(unit)}"


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_text_reads_back_whatever_the_program(seed: int) -> None:
    unit = random_unit(seed)
    text = format_unit(unit)
    again = parse_unit(text)
    check(again)
    assert format_unit(again) == text
    assert outcome(again, seed) == outcome(unit, seed)


def test_big_endian() -> None:
    for seed in range(20):
        unit = random_unit(seed)
        expected = outcome(unit, seed, little=False)
        run = dict(PASSES_MID)
        for name in ("lower_maps", "lower_reads", "lower_memory"):
            run[name](unit, TARGETS["5.10"])
        assert outcome(unit, seed, little=False) == expected


@pytest.mark.parametrize("name", [name for name, row in OPS.items() if row.level == "lowered"])
def test_every_lowered_operation_is_generated(name: str) -> None:
    """The random programs are worth their name."""
    assert any(
        instr.op == name
        for seed in range(60)
        for block in random_unit(seed).functions[0].blocks
        for instr in block.instrs
    )
