"""Every row of the opcode table, in bytes, instructions and text, both byte orders.

The rows are looped over inside the tests: a test for each would cost more in fixtures than in testing.
"""

from __future__ import annotations

import pytest

from pybpf.asm import FEATURES, FORMS, Insn, assemble, build, decode, disassemble, encode, find_form, slots
from pybpf.errors import AsmError
from tests.asm.built import BUILT
from tests.asm.rows import samples

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("endian", ["little", "big"])
def test_rows_round_trip_through_bytes(endian: str) -> None:
    for form in FORMS:
        for insn in samples(form):
            data = encode([insn], endian=endian)
            assert len(data) == 8 * slots(insn)
            assert decode(data, endian) == [insn]
            assert encode(decode(data, endian), endian=endian) == data


@pytest.mark.parametrize("style", ["plain", "verifier", "bpftool"])
def test_rows_round_trip_through_text(style: str) -> None:
    for form in FORMS:
        for insn in samples(form):
            text = disassemble([insn], style=style)
            assert assemble(text).insns == (insn,), text


def test_row_is_found_by_its_own_instructions() -> None:
    for form in FORMS:
        assert form.feature in FEATURES
        assert form in {find_form(insn) for insn in samples(form)}, form.shape


def test_reserved_bits_are_refused() -> None:
    refused = 0
    for form in FORMS:
        insn = samples(form)[0]
        for field, top in ("dst", 3), ("src", 3), ("off", 14), ("imm", 63 if form.wide else 30):
            keep = getattr(form, f"{field}_keep")
            for bit in (0, top):
                if not keep >> bit & 1:
                    continue
                changed = insn._replace(**{field: getattr(insn, field) ^ 1 << bit})
                other = find_form(changed)
                assert other != form, (form.shape, field, bit)
                if other is None:
                    refused += 1
                    with pytest.raises(AsmError, match=r"^instruction 0 `.*reserved field"):
                        encode([changed])
    assert refused > len(FORMS)


def test_texts_are_unique() -> None:
    assert len({form.text for form in FORMS}) == len(FORMS)


def test_byte_orders() -> None:
    """As linux/bpf.h lays out struct bpf_insn: offset and immediate swap, and so do the halves of the register byte."""
    insn = Insn(0x7B, dst=10, src=3, off=-8)
    assert encode([insn], endian="little") == bytes.fromhex("7b 3a f8ff 00000000")
    assert encode([insn], endian="big") == bytes.fromhex("7b a3 fff8 00000000")
    wide = Insn(0x18, dst=1, imm=0x1122334455667788)
    assert encode([wide], endian="little") == bytes.fromhex("18 01 0000 88776655 00 00 0000 44332211")
    assert encode([wide], endian="big") == bytes.fromhex("18 10 0000 55667788 00 00 0000 11223344")


def test_every_row_but_internal_ones_can_be_built() -> None:
    made = {find_form(insn) for insn in BUILT}
    assert None not in made
    assert [form.shape for form in FORMS if form.feature != "internal" and form not in made] == []


def test_every_function_that_builds_is_documented() -> None:
    functions = [name for name in build.__all__ if name[0].islower()]
    assert [name for name in functions if not getattr(build, name).__doc__] == []
