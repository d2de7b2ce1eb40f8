"""Every pass keeps what a program does: random programs give the same result, maps and outputs before and after."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.compiler.build import Builder
from pybpf.compiler.check import check
from pybpf.compiler.ir import Function, Unit
from pybpf.compiler.midend import PASSES_MID
from pybpf.compiler.ops import OPS
from pybpf.compiler.parse import parse_unit
from pybpf.compiler.target import Target
from pybpf.compiler.text import format_unit
from pybpf.sys.bpf import ProgType
from tests.compiler.programs import maps, outcome, random_unit

pytestmark = pytest.mark.pure

TARGETS = {
    "4.18": Target.described("4.18", "x86_64"),
    "5.10": Target.described("5.10", "aarch64"),
    "6.18": Target.described("6.18", "x86_64"),
}
BIG = dataclasses.replace(TARGETS["5.10"], arch=dataclasses.replace(TARGETS["5.10"].arch, endian="big"))
SEEDS = st.integers(0, 1 << 32)


@settings(max_examples=min(40, settings.default.max_examples), deadline=None)
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


@settings(max_examples=min(25, settings.default.max_examples), deadline=None)
@given(SEEDS)
def test_each_pass_alone(seed: int) -> None:
    text = format_unit(random_unit(seed))
    expected = outcome(parse_unit(text), seed)
    for name, run in dict(PASSES_MID).items():
        unit = parse_unit(text)
        run(unit, TARGETS["5.10"])
        check(unit)
        assert outcome(unit, seed) == expected, f"{name} changed what this does:\n{text}\nto:\n{format_unit(unit)}"


@settings(max_examples=min(30, settings.default.max_examples), deadline=None)
@given(SEEDS)
def test_text_reads_back_whatever_the_program(seed: int) -> None:
    unit = random_unit(seed)
    text = format_unit(unit)
    again = parse_unit(text)
    check(again)
    assert format_unit(again) == text
    assert outcome(again, seed) == outcome(unit, seed)


def test_a_large_program() -> None:
    """Thousands of blocks: a pass that recurses, or is quadratic in the blocks, does not come to an end here."""
    unit = Unit(ProgType.KPROBE, [Function("large", [], ("ptr",))], maps())
    b = Builder(unit.functions[0])
    ctx = b.param(0)
    slot = b.slot(64)
    leave = b.new_block("leave")
    b.write("x", b.emit("load", ctx, offset=0, size=8, signed=0))
    for number in range(1000):
        key = b.emit("and", b.read("x"), number)
        b.emit("store", slot, key, offset=number % 8 * 8, size=8)
        found = b.emit("lookup", key, map="hash")
        there, done = b.new_block("there"), b.new_block("done")
        b.branch("ne", found, 0, there, leave if number % 10 == 9 else done)
        b.seal(there)
        b.start(there)
        b.emit("atomic", found, b.read("x"), kind="add", offset=0, size=8)
        b.write("x", b.emit("peek", b.read("x"), space="kernel", offset=number % 64, size=8, signed=0))
        b.jump(done)
        b.seal(done)
        b.start(done)
    b.jump(leave)
    b.seal(leave)
    b.start(leave)
    b.ret(b.emit("add", b.read("x"), b.emit("load", slot, offset=0, size=8, signed=0)))
    b.finish()
    for _, run in PASSES_MID:
        run(unit, TARGETS["5.10"])
    check(unit)
    assert len(unit.functions[0].blocks) > 1500


def test_big_endian() -> None:
    for seed in range(20):
        unit = random_unit(seed)
        expected = outcome(unit, seed, little=False)
        for name, run in PASSES_MID:
            before = format_unit(unit)
            run(unit, BIG)
            check(unit)
            assert outcome(unit, seed, little=False) == expected, f"{name} changed what this does:\n{before}"


#: operations of loops that only front ends write
_OF_LOOPS = ("again", "entry", "entrykey", "entryvalue")


@pytest.mark.parametrize(
    "name", [name for name, row in OPS.items() if row.level == "lowered" and name not in _OF_LOOPS]
)
def test_every_lowered_operation_is_generated(name: str) -> None:
    """The random programs are worth their name."""
    assert any(
        instr.op == name
        for seed in range(60)
        for block in random_unit(seed).functions[0].blocks
        for instr in block.instrs
    )
