"""Instructions made from the rows of the opcode table, so that a new row is tested without a new test."""

from __future__ import annotations

from hypothesis import strategies as st

from pybpf.asm import FORMS, Form, Insn

#: Values that sit at the edges of what fields hold; as unsigned numbers they are cut to the field.
EDGES = (0, 1, -1, 0x7FFF, -0x8000, 0x7FFFFFFF, -0x80000000, 0x123456789ABCDEF0, -1 << 63, 5, 6)


def _cut(value: int, keep: int, want: int, bits: int, signed: bool) -> int:
    """``value`` in the bits of a field that are an operand, and what the row fixes in the others."""
    value = value & ~keep & (1 << bits) - 1
    if signed and value >> bits - 1:
        value -= 1 << bits
    return value | want


def make(form: Form, dst: int, src: int, off: int, imm: int) -> Insn:
    """An instruction of a row; what is no operand is replaced by what the row fixes."""
    bits, signed = (64, False) if form.wide else (32, True)
    return Insn(
        form.code,
        form.dst if form.dst_keep else dst,
        form.src if form.src_keep else src,
        _cut(off, form.off_keep, form.off, 16, True),
        _cut(imm, form.imm_keep, form.imm, bits, signed),
    )


def samples(form: Form) -> list[Insn]:
    """Instructions of a row with every edge in every field."""
    return list(dict.fromkeys(make(form, i % 11, (i * 7 + 3) % 11, value, value) for i, value in enumerate(EDGES)))


@st.composite
def insns(draw: st.DrawFn) -> Insn:
    """Any instruction that can be encoded."""
    form = draw(st.sampled_from(FORMS))
    register = st.integers(0, 10)
    return make(
        form, draw(register), draw(register), draw(st.integers(-0x8000, 0x7FFF)), draw(st.integers(-(1 << 63), 1 << 63))
    )
