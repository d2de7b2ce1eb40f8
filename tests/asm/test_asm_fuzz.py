"""Random programs survive every round trip; random bytes and text give an AsmError or a program, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.asm import FORMS, Code, Insn, Label, assemble, decode, disassemble, encode
from pybpf.errors import AsmError
from tests.asm.rows import insns

pytestmark = pytest.mark.pure

_ENDIAN = st.sampled_from(["little", "big"])
_PIECES = [
    *{word for form in FORMS for word in form.shape.replace("<", " ").replace(">", " ").split()},
    *(
        "r0",
        "r11",
        "w1",
        "0x",
        "-",
        "+",
        "5",
        " ",
        "\n",
        ":",
        "a:",
        "goto a",
        "map[a]",
        "[0]",
        ";",
        "#",
        "//",
        "ll",
        "7:",
    ),
]


@given(st.lists(insns(), max_size=20), _ENDIAN)
def test_programs_round_trip(program: list[Insn], endian: str) -> None:
    data = encode(program, endian=endian)
    assert decode(data, endian) == program
    for style in ("plain", "verifier", "bpftool"):
        assert encode(assemble(disassemble(data, style=style, endian=endian)), endian=endian) == data


_GOOD = ("a", "exit", "r", "w1x", "pcs", "unknown", "kfunc", "map", "bpf_mine", "s", "ll", ".L1", "$x", "lock", "u64")
_BAD = ("r1", "w10", "r99", "pc", "bpf_loop", "1a", "", "a b", "kernel-function", "\u00e9", "a\n")
_JUMPS = (
    *(Insn(0x05), Insn(0x06), Insn(0xE5), Insn(0x15, 1, imm=5), Insn(0xDE, 1, 2), Insn(0x85, src=1)),
    Insn(0x18, 1, 4),
)


@given(st.lists(st.tuples(st.sampled_from(_JUMPS), st.sampled_from(_GOOD)), min_size=1, max_size=5))
def test_labels_survive_text(jumps: list[tuple[Insn, str]]) -> None:
    names = dict.fromkeys(name for _, name in jumps)
    code = Code([*(insn._replace(ref=name) for insn, name in jumps), *map(Label, names), Insn(0x95)])
    assert assemble(str(code)) == code
    assert encode(assemble(str(code))) == encode(code)


@pytest.mark.parametrize("name", _BAD)
def test_labels_that_text_would_misread_are_refused(name: str) -> None:
    with pytest.raises(AsmError, match="cannot name a label"):
        Code([Label(name)])


@given(st.binary(max_size=80), _ENDIAN)
def test_bytes_are_a_program_or_refused(data: bytes, endian: str) -> None:
    try:
        program = decode(data, endian)
    except AsmError:
        pass
    else:
        assert encode(program, endian=endian) == data
    if len(data) % 8 == 0:
        assert disassemble(data, endian=endian, lenient=True).count("\n") <= max(len(data) // 8 - 1, 0)


@given(st.lists(insns(), min_size=1, max_size=6), st.data())
def test_damaged_bytes_are_a_program_or_refused(program: list[Insn], data: st.DataObject) -> None:
    damaged = bytearray(encode(program))
    for _ in range(3):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        survived = decode(damaged)
    except AsmError:
        return
    assert encode(survived) == damaged


@given(st.one_of(st.text(max_size=100), st.lists(st.sampled_from(_PIECES), max_size=12).map(" ".join)))
def test_text_is_a_program_or_refused(text: str) -> None:
    try:
        code = assemble(text)
    except AsmError:
        return
    assert assemble(str(code)) == code


_FIELD: st.SearchStrategy[object] = st.one_of(st.integers(), st.sampled_from([None, "x", 1.5, [], True]))


@given(st.tuples(_FIELD, _FIELD, _FIELD, _FIELD, _FIELD, st.sampled_from([None, "x", 5, b"", (), []])))
def test_fields_of_any_kind_are_encoded_or_refused(fields: tuple[Any, ...]) -> None:
    insn = Insn(*fields)
    assert str(insn)
    try:
        data = encode(Code([insn]))
    except AsmError:
        return
    assert decode(data) == [insn]


def test_long_text_takes_time_in_proportion() -> None:
    """Nothing backtracks or compares without bound: each of these is refused or read at once."""
    for text in ("r1 = " + "(" * 100_000, "a" * 200_000, "a:" * 20_000, "+ " * 50_000, "0x" * 50_000, "\n" * 100_000):
        with suppress(AsmError):
            assemble(text)
