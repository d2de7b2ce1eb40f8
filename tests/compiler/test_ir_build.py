"""The builder makes variables SSA, whatever the size and shape of the function."""

from __future__ import annotations

import pytest

from pybpf.compiler.build import Builder
from pybpf.compiler.check import check
from pybpf.compiler.ir import Block, Function, Instr, Unit
from pybpf.compiler.text import format_function
from pybpf.sys.bpf import ProgType
from tests.compiler.interp import Machine

pytestmark = pytest.mark.pure

MANY = 2000


def _begin(params: tuple[str, ...] = ("int",)) -> tuple[Unit, Builder]:
    unit = Unit(ProgType.KPROBE, [Function("f", [], params)])
    return unit, Builder(unit.functions[0])


def _finish(unit: Unit, builder: Builder) -> Unit:
    builder.finish()
    check(unit)
    return unit


def _phis(unit: Unit) -> list[Instr]:
    return [phi for block in unit.functions[0].blocks for phi in block.phis]


def _if(b: Builder, cond: Instr) -> tuple[Block, Block]:
    yes, done = b.new_block("yes"), b.new_block("done")
    b.branch("ne", cond, 0, yes, done)
    b.seal(yes)
    b.start(yes)
    return yes, done


def _join(b: Builder, done: Block) -> None:
    b.jump(done)
    b.seal(done)
    b.start(done)


def test_many_ifs_in_a_row_that_do_not_touch_the_variable() -> None:
    unit, b = _begin()
    param = b.param(0, "int")
    b.write("x", param)
    for _ in range(MANY):
        _, done = _if(b, param)
        _join(b, done)
    b.ret(b.read("x"))
    _finish(unit, b)
    assert not _phis(unit)
    assert unit.functions[0].blocks[-1].end.args == [param]


def test_many_ifs_in_a_row_that_write_the_variable() -> None:
    unit, b = _begin()
    param = b.param(0, "int")
    b.write("x", 0)
    for _ in range(MANY):
        _, done = _if(b, param)
        b.write("x", b.emit("add", b.read("x"), 1))
        _join(b, done)
    b.ret(b.read("x"))
    _finish(unit, b)
    assert len(_phis(unit)) == MANY
    assert Machine(unit).run(1) == MANY
    assert Machine(unit).run(0) == 0


def test_many_ifs_inside_each_other() -> None:
    unit, b = _begin()
    param = b.param(0, "int")
    b.write("x", 7)
    ends = [_if(b, param)[1] for _ in range(MANY)]
    for done in reversed(ends):
        _join(b, done)
    b.ret(b.read("x"))
    _finish(unit, b)
    assert not _phis(unit)


def test_many_variables_through_a_loop() -> None:
    unit, b = _begin()
    param = b.param(0, "int")
    for number in range(MANY):
        b.write(number, number)
    head, body, done = b.new_block("head"), b.new_block("body"), b.new_block("done")
    b.write("i", 0)
    b.jump(head)
    b.start(head)
    b.branch("ult", b.read("i"), param, body, done)
    b.seal(body)
    b.start(body)
    for number in range(MANY):
        value = b.read(number)
        if number % 2:
            b.write(number, b.emit("add", value, 1))
    b.write("i", b.emit("add", b.read("i"), 1))
    b.jump(head)
    b.seal(head)
    b.seal(done)
    b.start(done)
    b.ret(b.emit("add", b.read(1), b.read(2)))
    _finish(unit, b)
    assert Machine(unit).run(5) == 1 + 5 + 2
    assert len(_phis(unit)) == MANY // 2 + 1  # those that the loop changes, and i


def test_phis_that_become_needless_later() -> None:
    """Two loops, one in the other: the inner phi is needless, and then the outer one."""
    unit, b = _begin()
    param = b.param(0, "int")
    b.write("x", 5)
    outer, inner, after, done = (b.new_block(name) for name in ("outer", "inner", "after", "done"))
    b.jump(outer)
    b.start(outer)
    b.read("x")
    b.jump(inner)
    b.start(inner)
    b.emit("add", b.read("x"), 1)
    b.branch("eq", param, 1, inner, after)
    b.seal(inner)
    b.seal(after)
    b.start(after)
    b.branch("eq", param, 2, outer, done)
    b.seal(outer)
    b.seal(done)
    b.start(done)
    b.ret(b.read("x"))
    _finish(unit, b)
    assert not _phis(unit)
    assert unit.functions[0].blocks[-1].end.args == [5]


def test_a_loop_that_nothing_reaches_is_dropped() -> None:
    unit, b = _begin()
    head, done = b.new_block("head"), b.new_block("done")
    b.write("x", 1)
    b.jump(done)
    b.start(head)  # not sealed: the builder cannot know yet
    b.write("x", b.emit("add", b.read("x"), 1))
    b.jump(head)
    b.seal(head)
    b.seal(done)
    b.start(done)
    b.ret(b.read("x"))
    _finish(unit, b)
    assert format_function(unit.functions[0]) == "func f(int):\nentry:\n  jump -> done\ndone: <- entry\n  ret 1"


def test_an_edge_from_an_unreachable_loop_needs_no_phi() -> None:
    unit, b = _begin()
    head, done = b.new_block("head"), b.new_block("done")
    b.write("x", 1)
    b.jump(done)
    b.start(head)
    b.write("x", 2)
    b.branch("eq", b.read("y"), 0, head, done)
    b.seal(head)
    b.seal(done)
    b.start(done)
    b.ret(b.read("x"))
    _finish(unit, b)
    assert not _phis(unit)
    assert unit.functions[0].blocks[-1].end.args == [1]


def test_a_variable_that_no_assignment_reaches_is_zero() -> None:
    unit, b = _begin()
    b.ret(b.read("x"))
    _finish(unit, b)
    assert Machine(unit).run(3) == 0
