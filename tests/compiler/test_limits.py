"""What the fields of instructions cannot hold: offsets of far memory, and jumps over many instructions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.compiler.build import Builder
from pybpf.compiler.ir import Function, Unit
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.maps import MapSpec
from pybpf.prog import Program
from pybpf.sys.bpf import MapType, ProgType
from pybpf.types import u8, u32, u64
from tests.compiler.machines import new_unit, random_unit, run_in_kernel

#: bytes of a value
LARGE = 200_000
#: accesses: place and size; those at the ends of what an instruction reaches, and of parts, among them
places = st.tuples(
    st.integers(0, LARGE - 8)
    | st.builds(lambda end, near: end + near, st.sampled_from([0x7000, 0x8000, 0xE000, 0x10000]), st.integers(-9, 9)),
    st.sampled_from([1, 2, 4, 8]),
)


def far_unit(accesses: list[tuple[int, int]]) -> Unit:
    """A program that stores to places of a large value, adds to them, and adds up what it reads there."""
    function = Function("far")
    unit = new_unit(function)
    unit.maps["large"] = MapSpec(MapType.HASH, u32, u8[LARGE], 1, "large")
    b = Builder(function)
    state = b.emit("mapvalue", map="state", offset=0)
    found = b.emit("lookup", 1, map="large", type="ptr")
    there, done = b.new_block("there"), b.new_block("done")
    b.branch("eq", found, 0, done, there)
    b.seal(there)
    b.start(there)
    total = b.emit("add", 0, 0)
    for number, (place, size) in enumerate(accesses):
        # half of the distance is in the address, as where structs are in structs
        inner = b.emit("add", found, place // 2)
        b.emit("store", inner, number + 3, offset=place - place // 2, size=size)
        if size >= 4 and place % size == 0:
            b.emit("atomic", found, 5, kind="add", offset=place, size=size)
        total = b.emit("add", total, b.emit("load", found, offset=place, size=size, signed=0))
    b.emit("store", state, total, offset=0, size=8)
    b.jump(done)
    b.seal(done)
    b.start(done)
    b.ret(0)
    b.finish()
    return unit


def expected(accesses: list[tuple[int, int]]) -> tuple[int, bytes]:
    """What the program adds up, and the value it leaves."""
    memory = bytearray(LARGE)
    total = 0
    for number, (place, size) in enumerate(accesses):
        added = 5 if size >= 4 and place % size == 0 else 0
        memory[place : place + size] = (number + 3 + added).to_bytes(size, "little")
        total += int.from_bytes(memory[place : place + size], "little")
    return total, bytes(memory)


@pytest.mark.root
@pytest.mark.needs("test_run_raw_tp")
@settings(max_examples=min(40, settings.default.max_examples))
@given(st.lists(places, min_size=1, max_size=12))
def test_far_memory_is_reached(accesses: list[tuple[int, int]]) -> None:
    made = compile_unit(far_unit(accesses), Target.host(), check=True)
    maps = {name: spec.create() for name, spec in made.maps.items()}
    try:
        maps["large"][1] = bytes(LARGE)  # type: ignore[index]
        with Program.load(made.spec, maps) as program:
            program.test_run(ctx=bytes(8))
        total, memory = expected(accesses)
        assert maps["state"][0][0] == total  # type: ignore[index]
        assert maps["large"][1] == memory  # type: ignore[index]
    finally:
        for each in maps.values():
            each.close()


@pytest.mark.pure
def test_near_accesses_share_an_address() -> None:
    code = str(compile_unit(far_unit([(40_000, 8), (40_008, 4), (40_100, 1)]), Target.described("5.10")).spec.code)
    assert code.count("+= 28672") == 1


def long_unit(additions: int) -> Unit:
    """A program that jumps over a number of additions."""
    function = Function("long")
    unit = Unit(ProgType.RAW_TRACEPOINT, [function], {"state": MapSpec(MapType.ARRAY, u32, u64[32], 1, "state")})
    b = Builder(function)
    value = b.emit("load", b.param(0), offset=0, size=8, signed=0)
    body, out = b.new_block("body"), b.new_block("out")
    b.branch("eq", value, 7, out, body)
    b.seal(body)
    b.start(body)
    state = b.emit("mapvalue", map="state", offset=0)
    for _ in range(additions):
        b.emit("atomic", state, value, kind="add", offset=0, size=8)
    b.jump(out)
    b.seal(out)
    b.start(out)
    b.ret(0)
    b.finish()
    return unit


@pytest.mark.root
@pytest.mark.needs("test_run_raw_tp", "gotol")
def test_jumps_over_many_instructions_take_the_long_form() -> None:
    made = compile_unit(long_unit(33_000), Target.host())
    assert run_in_kernel(made, [3])[1][:8] == (3 * 33_000).to_bytes(8, "little")
    assert run_in_kernel(made, [7])[1][:8] == bytes(8)


@pytest.mark.pure
def test_jumps_over_too_many_instructions_are_refused_where_there_is_no_long_form() -> None:
    without = Target.described("6.18", without=["gotol"])
    with pytest.raises(CompileError, match=r"program long has 33006 instructions, and jumps over more than 32,767"):
        compile_unit(long_unit(33_000), without)
    # none is too far
    assert compile_unit(long_unit(32_000), without).spec.code.slots == 32_006


@pytest.mark.pure
def test_the_limits_hold_for_random_programs_too() -> None:
    """No pass makes an offset that does not fit, wherever the state's fields are."""
    host = replace(Target.described("6.18"))
    for seed in range(20):
        unit = random_unit(seed, 4, 40)
        for function in unit.functions:
            for block in function.blocks:
                for instr in block.instrs:
                    if instr.op == "mapvalue":
                        instr.attrs = {**instr.attrs, "offset": instr.attrs["offset"] + 100_000}
        unit.maps["state"] = MapSpec(MapType.ARRAY, u32, u64[20_000], 1, "state")
        for insn in compile_unit(unit, host).spec.code:
            assert -0x8000 <= insn.off <= 0x7FFF
