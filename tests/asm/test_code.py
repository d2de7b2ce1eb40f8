"""Programs: labels, layout, far jumps, symbolic operands, and the errors of each."""

from __future__ import annotations

from typing import Any

import pytest

from pybpf.asm import (
    DW,
    R0,
    R1,
    R2,
    R10,
    W0,
    W1,
    B,
    Code,
    Insn,
    Item,
    KfuncRef,
    Label,
    MapRef,
    SourceLine,
    W,
    add,
    assemble,
    atomic_add,
    be,
    call,
    call_kfunc,
    call_local,
    decode,
    disassemble,
    div,
    encode,
    exit_,
    goto,
    gotol,
    jeq,
    jgt,
    jset,
    jsle,
    label,
    ld_imm64,
    ld_map,
    ld_map_value,
    ld_subprog,
    ldx,
    lsh,
    may_goto,
    mod,
    mov,
    movsx,
    neg,
    slots,
    st,
    stx,
)  # fmt: skip
from pybpf.errors import AsmError

pytestmark = pytest.mark.pure

LINE = SourceLine("tracer.py", 12, 5, "    counts[pid()] += 1")


def test_labels_count_slots() -> None:
    code = Code([jeq(R1, 0, "out"), ld_imm64(R0, 1), goto("out"), label("back"), mov(R0, 0), label("out"), exit_()])
    assert (len(code), code.slots, [code.slot(i) for i in range(5)]) == (5, 6, [0, 1, 3, 4, 5])
    assert dict(code.labels) == {"back": 3, "out": 4}
    assert [insn.off for insn in decode(encode(code))] == [4, 0, 1, 0, 0]
    assert Code(code.items()) == code
    backwards = Code([label("again"), ld_imm64(R0, 1), gotol("again"), goto("again")])
    assert [(i.off, i.imm) for i in decode(encode(backwards))][1:] == [(0, -3), (-4, 0)]


def test_calls_and_addresses_of_functions() -> None:
    code = Code([call_local("work"), ld_subprog(R1, "work"), exit_(), label("work"), exit_()])
    assert [insn.imm for insn in decode(encode(code))] == [3, 2, 0, 0]
    behind = Code([label("work"), exit_(), ld_subprog(R1, "work"), exit_()])
    assert decode(encode(behind))[1].imm == 0xFFFFFFFE
    assert disassemble(encode(behind)).split("\n")[1] == "\tr1 = subprog[-2]"


def test_several_labels_at_one_place_and_at_the_end() -> None:
    code = Code([label("a"), label("b"), goto("b"), label("end")])
    assert dict(code.labels) == {"a": 0, "b": 0, "end": 1}
    assert str(code) == "a:\nb:\n\tgoto b\nend:"
    assert assemble(str(code)) == code


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([mov(R0, 0), jeq(R1, 0, "x")], r"instruction 1 `if r1 == 0x0 goto x`: label 'x' is not defined; write `x:`"),
        ([label("a"), exit_(), label("a")], r"instruction 1: label 'a' is defined twice, first at instruction 0"),
        ([Label("1a")], "instruction 0: 1a cannot name a label"),
        ([Label("pc")], "instruction 0: pc cannot name a label: in text it is"),
        ([Label("")], "cannot name a label"),
        ([exit_(), "exit"], "instruction 1: 'exit' is neither an Insn nor a Label"),
    ],
)
def test_bad_programs_are_refused(items: list[Item], says: str) -> None:
    with pytest.raises(AsmError, match=says):
        Code(items)


@pytest.mark.parametrize(
    ("insn", "says"),
    [
        (Insn(0xFF), "instruction 2 `code=0xff .*: 0xff is not an opcode"),
        (Insn(0x1B7), "the opcode must be 0 to 255"),
        (Insn(0xB7, 11), "instruction 2 `r11 = 0`: dst register 11 does not exist; use 0 to 10"),
        (Insn(0xBF, 1, -1), "src register -1 does not exist"),
        (Insn(0xB7, 1, 1), "reserved field: in `r<dst> = <imm>` src must be 0, not 1"),
        (Insn(0xB7, 1, 0, 4), "reserved field: .* off must be 0, not 4"),
        (Insn(0x95, imm=1), "reserved field: in `exit` imm must be 0, not 1"),
        (Insn(0xB7, 1, imm=1 << 31), "immediate 2147483648 does not fit 32 bits signed"),
        (
            Insn(0x79, 1, 2, 1 << 15),
            r"instruction 2 `r1 = \*\(u64 \*\)\(r2 \+32768\)`: offset 32768 does not fit",
        ),
        (Insn(0x05, off=-40000), "offset -40000 .*use gotol"),
        (Insn(0x18, 1, imm=-1), "-1 does not fit 64 bits unsigned"),
        (Insn(0x18, 1, imm=1 << 64), "does not fit 64 bits unsigned|reserved field"),
        (Insn(0x18, 1, 1, imm=1 << 32), "reserved field"),
        (Insn(0xDB, 1, 2, 0, 0x10), "reserved field"),
        (Insn(0xB7, 1, imm=None), "must be integers"),  # type: ignore[arg-type]
        (Insn([1]), "must be integers"),  # type: ignore[arg-type]
        (Insn(0xB7, 1.0), "must be integers"),  # type: ignore[arg-type]
        (Insn(0x07, 1, ref=MapRef("m")), r"`r<dst> \+= <imm>` takes no map"),
        (Insn(0x18, 1, 1, ref=KfuncRef("m")), "takes a map, not a kfunc"),
        (Insn(0x18, 1, 1, ref=MapRef("m", 8)), "MapRef with an offset"),
        (Insn(0x18, 1, 2, ref=MapRef("m")), "MapRef with an offset"),
        (Insn(0x18, 1, 2, ref=MapRef("m", -1)), "offset -1 does not fit"),
        (Insn(0x18, 1, 1, imm=3, ref=MapRef("m")), "both a map and a number"),
        (Insn(0x18, 1, 1, ref=MapRef("a b")), "'a b' cannot name a map"),
        (Insn(0x05, off=3, ref="out"), "both a label and a number"),
        (Insn(0x18, 1, 1, ref=7), "not a symbolic operand"),  # type: ignore[arg-type]
    ],
)
def test_bad_instructions_are_named(insn: Insn, says: str) -> None:
    with pytest.raises(AsmError, match=says):
        encode([mov(R0, 0), mov(R0, 0), insn, label("out"), exit_()], maps={"m": 3})


def test_the_source_line_is_named() -> None:
    with pytest.raises(AsmError, match=r"instruction 0 `r11 = 0` \(tracer.py:12\)"):
        encode([Insn(0xB7, 11).at(LINE)])


#: Function, operands.
_REFUSED: list[tuple[Any, ...]] = [
    (mov, R1, 1 << 31),
    (mov, R1, 0xFFFFFFFF),
    (mov, W1, 1 << 32),
    (mov, R1, W1),
    (mov, R1, "r2"),
    (mov, 1, R1),
    (add, R1, 1.5),
    (div, R1, 0),
    (mod, W1, 0),
    (lsh, R1, 64),
    (lsh, W1, 32),
    (lsh, R1, -1),
    (movsx, R1, R2, 64),
    (movsx, W1, W0, 32),
    (movsx, R1, W0, 8),
    (neg, 1),
    (be, R1, 8),
    (be, W1, 16),
    (ldx, DW, R1, R2, 1 << 15),
    (ldx, DW, W1, R2),
    (ldx, 8, R1, R2),
    (ldx, R1, R2, 0),
    (st, B, R1, 0, 256),
    (st, DW, R1, 0, 1 << 31),
    (st, W, R1, 0, 1 << 32),
    (st, W, R1, 0, "x"),
    (stx, W, R10, -8, 5),
    (atomic_add, B, R1, 0, R2),
    (jeq, R1, 0xFFFFFFFF, "x"),
    (jeq, R1, 0, "a b"),
    (jeq, R1, 0, None),
    (jeq, R1, 0, 1 << 15),
    (gotol, 1 << 31),
    (label, "goto x"),
    (call, "no_such_helper"),
    (call, 1 << 31),
    (call, None),
    (call_kfunc, 1, 1 << 15),
    (call_kfunc, "a b"),
    (ld_imm64, R1, 1 << 64),
    (ld_map, R1, -1),
    (ld_map, R1, "a b"),
    (ld_map_value, R1, "a", -8),
    (ld_subprog, R1, 1 << 33),
]


@pytest.mark.parametrize("call_", _REFUSED, ids=lambda call_: f"{call_[0].__name__}{call_[1:]!s:.40}")
def test_constructors_refuse_what_cannot_be_encoded(call_: tuple[Any, ...]) -> None:
    function, *operands = call_
    with pytest.raises(AsmError):
        function(*operands)


def test_numbers_of_half_a_register_may_be_signed_or_unsigned() -> None:
    assert mov(W1, 0xFFFFFFFF) == mov(W1, -1)
    assert jeq(W1, 0xFFFFFFFF, 1) == jeq(W1, -1, 1)
    assert st(W, R1, 0, 0xFFFFFFFF) == st(W, R1, 0, -1)
    assert ld_imm64(R1, -1) == ld_imm64(R1, (1 << 64) - 1)


def test_maps_and_kernel_functions_are_resolved_when_encoded() -> None:
    code = Code([ld_map(R1, "a"), ld_map_value(R2, "b", 8), call_kfunc("bpf_x"), call_kfunc("bpf_y"), exit_()])
    data = encode(code, maps={"a": 5, "b": 6}, kfuncs={"bpf_x": 1234, "bpf_y": (77, 2)})
    assert disassemble(data).replace("\t", "").split("\n") == [
        "r1 = map[fd:5]",
        "r2 = map[fd:6][0]+8",
        "call kernel-function#1234",
        "call kernel-function#77[idx:2]",
        "exit",
    ]
    assert encode(code, maps={"a": 5, "b": 6}, kfuncs={"bpf_x": 1234, "bpf_y": (77, 2)}) == data
    with pytest.raises(AsmError, match=r"instruction 0 `r1 = map\[a\]`: no map 'a' was given to encode \(given: b\)"):
        encode(code, maps={"b": 6})
    with pytest.raises(AsmError, match=r"instruction 4 `call kfunc\[bpf_x\]`: no kernel function 'bpf_x'"):
        encode(code, maps={"a": 5, "b": 6})
    with pytest.raises(AsmError, match="not the file descriptor"):
        encode(code, maps={"a": -1, "b": 6})
    with pytest.raises(AsmError):
        encode(code, maps={"a": 5, "b": 6}, kfuncs={"bpf_x": 1 << 40})
    with pytest.raises(AsmError):
        encode(code, maps={"a": 5, "b": 6}, kfuncs={"bpf_x": "x"})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xb7", "1 bytes are not whole instructions"),
        (bytes.fromhex("ff00000000000000"), "instruction 0 .* is not an opcode"),
        (bytes.fromhex("9500000000000000 9500000001000000"), "instruction 1 .*: reserved field"),
        (bytes.fromhex("1800000000000000"), "ld_imm64 takes two slots, and the program ends after the first"),
        (bytes.fromhex("1800000000000000 9500000000000000"), "second slot of ld_imm64 must be all zero"),
        (bytes.fromhex("b70b000000000000"), "register 11 does not exist"),
        (bytes.fromhex("1870000000000000 0000000000000000"), "reserved field"),
    ],
)
def test_bad_bytes_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(AsmError, match=says):
        decode(data)


def test_unknown_byte_orders_and_styles_are_refused() -> None:
    bad: Any
    for bad in "middle", "", None, []:
        with pytest.raises(AsmError, match="endian must be"):
            decode(b"", bad)
        with pytest.raises(AsmError, match="endian must be"):
            encode([], endian=bad)
    with pytest.raises(AsmError, match="style 'x' is unknown"):
        disassemble(b"", style="x")


def test_lenient_dump_goes_on() -> None:
    data = encode([mov(R0, 0)]) + bytes.fromhex("ff00000000000000 1800000000000000")
    assert disassemble(data, style="verifier", lenient=True) == "0: (b7) r0 = 0\n1: (ff) BUG_ff\n2: (18) BUG_18"


# Far jumps


def _far(jump: Insn, distance: int = 40000) -> Code:
    """A jump over so many slots; ``ld_imm64``, which takes two, makes the fewest instructions of them."""
    return Code([jump, *[ld_imm64(R0, 0)] * (distance // 2), *[mov(R0, 0)] * (distance % 2), label("far"), exit_()])


def test_jumps_reach_as_far_as_16_bits() -> None:
    near = _far(goto("far"), 32767)
    assert near.relax() is near
    assert decode(encode(near))[0].off == 32767
    with pytest.raises(AsmError, match=r"label 'far' is 32768 slots away.*Code.relax\(\)"):
        encode(_far(goto("far"), 32768))


def test_far_jumps_are_rewritten() -> None:
    jumps = [jeq(R1, R2, "far"), jgt(W1, 5, "far"), jsle(R1, -1, "far"), jset(R1, 8, "far"), goto("far")]
    code = Code([*(jump.at(LINE) for jump in jumps), *_far(mov(R0, 0)).items()]).relax()
    assert {insn.line for insn in code.insns[:10]} == {LINE}
    assert [str(insn) for insn in decode(encode(code))[:10]] == [
        *("if r1 != r2 goto pc+1", "gotol pc+40009"),
        *("if w1 <= 0x5 goto pc+1", "gotol pc+40007"),
        *("if r1 s> 0xffffffff goto pc+1", "gotol pc+40005"),
        *("if r1 & 0x8 goto pc+1", "goto pc+1", "gotol pc+40002"),
        "gotol pc+40001",
    ]


def test_growing_pushes_other_jumps_out_of_reach() -> None:
    half = [ld_imm64(R0, 0)] * 16383
    code = Code([jeq(R1, 0, "b"), jeq(R1, 1, "c"), *half, label("b"), *[mov(R0, 0)] * 10, label("c"), exit_()])
    relaxed = code.relax()
    assert relaxed.slots == code.slots + 2
    encode(relaxed)


def test_relaxing_keeps_jumps_by_number_at_their_targets() -> None:
    code = Code([goto(1), exit_(), jeq(R1, 0, "far"), goto(-3), *[ld_imm64(R0, 0)] * 20000, label("far"), exit_()])
    shown = str(code.relax()).split("\n")[:7]
    assert shown == ["\tgoto .L2", ".L1:", "\texit", ".L2:", "\tif r1 != 0x0 goto pc+1", "\tgotol far", "\tgoto .L1"]


def test_what_cannot_be_relaxed_is_refused() -> None:
    with pytest.raises(AsmError, match="may_goto has no long form"):
        _far(may_goto("far")).relax()
    with pytest.raises(AsmError, match=r"instruction 0 `goto pc-5`: -5 slots from here no instruction starts"):
        Code([goto(-5), *_far(goto("far")).items()]).relax()
    with pytest.raises(AsmError, match="behind the last instruction"):
        encode([goto("end"), label("end")])


def test_source_lines_are_printed_once() -> None:
    other = SourceLine("a\x1bb.py", 13, 1, "x = 1\x1b[31m")
    code = Code([mov(R0, 0).at(LINE), mov(R0, 1).at(LINE), exit_().at(other)])
    assert disassemble(code, source=True, style="verifier").split("\n") == [
        "; counts[pid()] += 1 @ tracer.py:12",
        "0: (b7) r0 = 0",
        "1: (b7) r0 = 1",
        r"; x = 1\x1b[31m @ a\x1bb.py:13",
        "2: (95) exit",
    ]
    assert assemble(disassemble(code, source=True)).insns == tuple(insn.at(None) for insn in code)


def test_slots() -> None:
    assert [slots(insn) for insn in (mov(R0, 0), ld_imm64(R0, 0), call("ktime_get_ns"))] == [1, 2, 1]
