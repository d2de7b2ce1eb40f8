"""The work of the compiler grows as the program does: no pass looks at everything again for everything."""

from __future__ import annotations

import cProfile
from collections.abc import Callable

import pytest

from pybpf.compiler.build import Builder
from pybpf.compiler.compiled import Compiled
from pybpf.compiler.ir import Function, Instr, Operand, Unit
from pybpf.compiler.pipeline import compile_unit
from pybpf.compiler.target import Target
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType, ProgType
from pybpf.types import Struct, char, u64

pytestmark = pytest.mark.pure

TARGET = Target.described("6.12")


class Key(Struct):
    comm: char[16]
    pid: u64


MAPS = {
    **{f"numbers{i}": MapSpec(MapType.HASH, u64, u64, 100, f"numbers{i}") for i in range(8)},
    **{f"names{i}": MapSpec(MapType.HASH, Key, u64, 100, f"names{i}") for i in range(8)},
}
#: writes a statement: the builder, its number, a value, the pid
Writer = Callable[[Builder, int, Operand, Operand], None]


def constants(b: Builder, number: int, value: Operand, pid: Operand) -> None:
    b.emit("update", number, 3 * number, 0, map=f"numbers{number % 8}")


def computed(b: Builder, number: int, value: Operand, pid: Operand) -> None:
    b.emit("update", pid, b.emit("add", value, number), 0, map=f"numbers{number % 8}")


def structs(b: Builder, number: int, value: Operand, pid: Operand) -> None:
    key, kept = b.slot(24, "key"), b.slot(8, "value")
    b.emit("zero", key, offset=0, size=24)
    b.emit("call", key, 16, helper="get_current_comm")
    b.emit("store", key, pid, offset=16, size=8)
    b.emit("store", kept, b.emit("add", value, number), offset=0, size=8)
    b.emit("update", key, kept, 0, map=f"names{number % 8}")


def counted(b: Builder, number: int, value: Operand, pid: Operand) -> None:
    name = f"numbers{number % 8}"
    found = b.emit("lookup", pid, map=name, type="ptr")
    there, absent, done = (b.new_block(each) for each in ("there", "absent", "done"))
    b.branch("ne", found, 0, there, absent)
    b.seal(there)
    b.seal(absent)
    b.start(there)
    b.write(number, b.emit("load", found, offset=0, size=8, signed=0))
    b.jump(done)
    b.start(absent)
    b.write(number, 0)
    b.jump(done)
    b.seal(done)
    b.start(done)
    total = b.emit("add", b.read(number), b.read(max(0, number - 20)))
    b.emit("update", pid, total, 0, map=name)


def conditional(b: Builder, number: int, value: Operand, pid: Operand) -> None:
    yes, done = b.new_block("yes"), b.new_block("done")
    b.branch("eq", value, number, yes, done)
    b.seal(yes)
    b.start(yes)
    computed(b, number, value, pid)
    b.jump(done)
    b.seal(done)
    b.start(done)


def unit_of(write: Writer, statements: int) -> Unit:
    function = Function("long")
    b = Builder(function)
    value: Instr = b.emit("load", b.param(0), offset=8, size=8, signed=0)
    for number in range(statements):
        pid = b.emit("lshr", b.emit("call", helper="get_current_pid_tgid"), 32)
        write(b, number, value, pid)
    b.ret(0)
    b.finish()
    return Unit(ProgType.TRACEPOINT, [function], dict(MAPS))


def calls_to_compile(write: Writer, statements: int) -> int:
    """How many functions of Python are called to compile so many statements."""
    unit = unit_of(write, statements)
    profile = cProfile.Profile()
    profile.runcall(compile_unit, unit, TARGET)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("write", [constants, computed, structs, counted, conditional])
def test_four_times_as_many_statements_take_four_times_the_work(write: Writer) -> None:
    assert calls_to_compile(write, 800) < 4.5 * calls_to_compile(write, 200)


def looped(b: Builder, number: int, value: Operand, variables: int) -> None:
    """A loop that changes one variable and reads another."""
    top, body, done = (b.new_block(each) for each in ("top", "body", "done"))
    b.write("turn", 0)
    b.jump(top)
    b.start(top)
    b.branch("ult", b.read("turn"), value, body, done)
    b.seal(body)
    b.start(body)
    b.write(number % variables, b.emit("add", b.read(number % variables), b.read(7 * number % variables)))
    b.write("turn", b.emit("add", b.read("turn"), 1))
    b.jump(top)
    b.seal(top)
    b.seal(done)
    b.start(done)


def changed_on_a_way(b: Builder, number: int, value: Operand, variables: int) -> None:
    """A variable that is changed on one of two ways."""
    yes, done = b.new_block("yes"), b.new_block("done")
    b.branch("eq", value, number, yes, done)
    b.seal(yes)
    b.start(yes)
    b.write(number % variables, b.emit("add", b.read(number % variables), value))
    b.jump(done)
    b.seal(done)
    b.start(done)


def calls_to_write(write: Callable[[Builder, int, Operand, int], None], size: int) -> int:
    """How many functions of Python are called to write so many statements over half as many variables."""
    profile = cProfile.Profile()
    with profile:
        function = Function("long")
        b = Builder(function)
        value = b.emit("load", b.param(0), offset=8, size=8, signed=0)
        for variable in range(size // 2):
            b.write(variable, b.emit("add", value, variable))
        for number in range(size):
            write(b, number, value, size // 2)
        total: Operand = 0
        for variable in range(size // 2):
            total = b.emit("add", total, b.read(variable))
        b.ret(total)
        b.finish()
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("write", [looped, changed_on_a_way])
def test_variables_times_blocks_are_not_looked_at(write: Callable[[Builder, int, Operand, int], None]) -> None:
    assert calls_to_write(write, 1600) < 4.8 * calls_to_write(write, 400)


@pytest.mark.parametrize("write", [constants, computed, structs, conditional])
def test_keys_and_values_in_turn_share_the_stack(write: Writer) -> None:
    made: Compiled = compile_unit(unit_of(write, 400), TARGET)
    assert made.maps.keys() == MAPS.keys()
