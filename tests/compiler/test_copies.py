"""Copies that happen at once give, as moves one after the other, every place what it should have; registers that were
never set are not read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.asm import Insn
from pybpf.compiler.copies import sequence
from pybpf.compiler.frame import SpillFrame
from pybpf.compiler.machine import FP, REGISTERS, Imm, MInsn, Place, Source, Spill

pytestmark = pytest.mark.pure

PLACES: list[Place] = [*REGISTERS, *map(Spill, range(6))]
MOVE, SET, LOAD, STORE = 0xBF, 0xB7, 0x79, 0x7B


def run(insns: list[MInsn], state: dict[int, int]) -> None:
    """Registers are numbers up to 9, the frame is its offsets."""
    for insn in insns:
        made: Insn = insn.insns(list(range(11)))[0]
        if made.code == MOVE:
            state[made.dst] = state[made.src]
        elif made.code == SET:
            state[made.dst] = made.imm
        elif made.code == LOAD:
            assert made.src == FP
            state[made.dst] = state[made.off]
        else:
            assert (made.code, made.dst) == (STORE, FP)
            state[made.off] = state[made.src]


@given(st.data())
def test_every_place_gets_its_value(data: st.DataObject) -> None:
    frame = SpillFrame(16, 6)

    def where(place: Place) -> int:
        return place if isinstance(place, int) else frame.offset(place)

    known = data.draw(st.lists(st.sampled_from(PLACES), unique=True, min_size=1), label="set before")
    targets = data.draw(st.lists(st.sampled_from(PLACES), unique=True), label="written")
    sources: st.SearchStrategy[Source] = st.one_of(st.sampled_from(known), st.integers(0, 99).map(Imm))
    pairs = [(target, data.draw(sources)) for target in targets]
    busy = {place for place in known if isinstance(place, int) and (place not in targets and data.draw(st.booleans()))}
    busy |= {place for place in targets if isinstance(place, int)}
    before = {where(place): 1000 + number for number, place in enumerate(known)}
    expected = {
        where(target): source.value if isinstance(source, Imm) else before[where(source)]  # type: ignore[arg-type]
        for target, source in pairs
    }
    kept = {where(place) for place in known if place not in targets and (place in busy or isinstance(place, Spill))}
    state = dict(before)
    run(sequence(pairs, busy, frame), state)
    assert {at: state[at] for at in expected} == expected
    assert {at: state[at] for at in kept} == {at: before[at] for at in kept}
    assert frame.size <= 16 + 8 * (6 + 1 + len(PLACES))


def test_a_circle_takes_one_move_more_than_it_is_long() -> None:
    frame = SpillFrame(0, 0)
    assert len(sequence([(1, 2), (2, 3), (3, 1)], {1, 2, 3}, frame)) == 4
    assert frame.size == 0
    # with no register free, the frame helps
    circle: list[tuple[Place, Source]] = [(reg, (reg + 1) % 10) for reg in REGISTERS]
    assert len(sequence(circle, set(REGISTERS), frame)) == 11
    assert frame.size == 16
