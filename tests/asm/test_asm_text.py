"""What text the assembler takes, and how it refuses the rest."""

from __future__ import annotations

import re
import sys
import textwrap
from typing import Any

import pytest

from pybpf import asm
from pybpf.asm import (
    DW,
    FP,
    R0,
    R1,
    R2,
    R6,
    W0,
    W1,
    B,
    Insn,
    KfuncRef,
    MapRef,
    SourceLine,
    W,
    assemble,
    atomic_add,
    call,
    call_local,
    disassemble,
    exit_,
    jeq,
    ld_imm64,
    ld_map,
    ld_map_value,
    ld_subprog,
    ldx,
    mov,
    st,
    stx,
)  # fmt: skip
from pybpf.errors import AsmError

pytestmark = pytest.mark.pure

#: Lines as the verifier of Linux 6.18 and bpftool print them, and their bytes (little endian), from real dumps.
PRINTED = [
    ("r2 = (s8)r1", "bf12080000000000"),
    ("w2 = (s16)w1", "bc12100000000000"),
    ("r1 s/= -3", "37010100fdffffff"),
    ("r1 s%= r2", "9f21010000000000"),
    ("w1 s/= -3", "34010100fdffffff"),
    ("r1 = -r1", "8701000000000000"),
    ("w1 = -w1", "8401000000000000"),
    ("r1 = le16 r1", "d401000010000000"),
    ("r1 = be32 r1", "dc01000020000000"),
    ("r1 = bswap64 r1", "d701000040000000"),
    ("r1 s>>= 3", "c701000003000000"),
    ("r1 = 0x5566778811223344", "18010000443322110000000088776655"),
    ("r1 = *(s8 *)(r10 -8)", "91a1f8ff00000000"),
    ("r1 = *(s16 *)(r10 -8)", "89a1f8ff00000000"),
    ("*(u8 *)(r10 -8) = 7", "720af8ff07000000"),
    ("*(u64 *)(r10 -8) = r1", "7b1af8ff00000000"),
    ("lock *(u64 *)(r10 -8) += r1", "db1af8ff00000000"),
    ("lock *(u64 *)(r10 -8) ^= r1", "db1af8ffa0000000"),
    ("r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)", "db1af8ff01000000"),
    ("r1 = atomic_fetch_add((u32 *)(r10 -8), r1)", "c31af8ff01000000"),
    ("r1 = atomic64_xchg((u64 *)(r10 -8), r1)", "db1af8ffe1000000"),
    ("r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r1)", "c31af8fff1000000"),
    ("r1 = load_acquire((u8 *)(r10 -8))", "d3a1f8ff00010000"),
    ("store_release((u32 *)(r10 -8), r1)", "c31af8ff10010000"),
    ("goto pc+0", "0500000000000000"),
    ("gotol pc+0", "0600000000000000"),
    ("may_goto pc+0", "e500000000000000"),
    ("if r0 == 0xffffffff goto pc+0", "15000000ffffffff"),
    ("if w0 s<= w1 goto pc+0", "de10000000000000"),
    ("if r0 & 0xffffffff goto pc-1", "4500ffffffffffff"),
    ("call bpf_ktime_get_ns#5", "8500000005000000"),
    ("call pc+2", "8510000002000000"),
    ("call unknown#999", "85000000e7030000"),
    ("r0 = *(u8 *)skb[4]", "3000000004000000"),
    ("r0 = *(u32 *)skb[r2 + 4]", "4020000004000000"),
    ("r2 = addr_space_cast(r1, 0, 1)", "bf12010001000000"),
    ("gotox r1", "0d01000000000000"),
    ("nospec", "c200000000000000"),
    ("exit", "9500000000000000"),
]


@pytest.mark.parametrize(("text", "data"), PRINTED)
def test_what_the_kernel_prints(text: str, data: str) -> None:
    from pybpf.asm import encode

    assert encode(assemble(text)).hex() == data
    assert disassemble(bytes.fromhex(data)) == "\t" + text


@pytest.mark.parametrize(
    ("text", "insn"),
    [
        ("r1 = 5", mov(R1, 5)),
        ("r1=5", mov(R1, 5)),
        ("r1 = -0x5", mov(R1, -5)),
        ("r1 = 0x5", ld_imm64(R1, 5)),
        ("r1 = 5 ll", ld_imm64(R1, 5)),
        ("r1 = -5 ll", ld_imm64(R1, -5)),
        ("r1 = -0x5ll", ld_imm64(R1, -5)),
        ("w1 = 0xffffffff", mov(W1, -1)),
        ("w1 = 4294967295", mov(W1, -1)),
        ("  r1  =  r2  ", mov(R1, R2)),
        ("\tr1 = *(u64*)(r2+8)", ldx(DW, R1, R2, 8)),
        ("r1 = *( u32 * ) ( r2 - 8 )", ldx(W, R1, R2, -8)),
        ("*(u8 *)(r10 -1) = 0xff", st(B, FP, -1, 0xFF)),
        ("*(u64 *)(r10 - 0x10) = r6", stx(DW, FP, -16, R6)),
        ("lock *(u64 *)(r1 + 0) += r2", atomic_add(DW, R1, 0, R2)),
        ("if r0 == -1 goto pc+0", jeq(R0, -1, 0)),
        ("if r0 == 0xffffffff goto pc+0", jeq(R0, -1, 0)),
        ("if w0 == 4294967295 goto pc+0", jeq(W0, -1, 0)),
        ("call bpf_ktime_get_ns#269488", call(5)),  # of a loaded program: how far it is from another function
        ("call pc+3#bpf_prog_f00d1e5ca1ab1e00_work", call_local(3)),
        ("int f(struct sk_buff *skb, u64 x):\nexit", exit_()),
        ("0: R1=ctx(off=0,imm=0) R10=fp0\n0: (95) exit", exit_()),
        ("0: (95) exit\nfrom 3 to 5: R0=1\nprocessed 2 insns (limit 1000000) max_states_per_insn 0", exit_()),
        ("r1 = map[counts]", ld_map(R1, "counts")),
        ("r1 = map[ fd ]", ld_map(R1, "fd")),
        ("r1 = map[counts][0]+8", ld_map_value(R1, "counts", 8)),
        ("r1 = map[fd:5]", ld_map(R1, 5)),
        ("r1 = map[id:5]", ld_map(R1, 5)),
        ("r1 = map[id:5][0]+8", ld_map_value(R1, 5, 8)),
        ("r1 = subprog[-1]", ld_subprog(R1, -1)),
        ("call bpf_ktime_get_ns", call(5)),
        ("call bpf_iter_num_new#4242", Insn(0x85, src=2, ref=KfuncRef("bpf_iter_num_new"))),
        ("call kernel-function#4242", Insn(0x85, src=2, imm=4242)),
        ("call kfunc[bpf_iter_num_new]", Insn(0x85, src=2, ref=KfuncRef("bpf_iter_num_new"))),
        ("0: (95) exit", exit_()),
        ("0:exit", exit_()),
        ("   0: (95) exit  ; R0=0", exit_()),
        ("exit // done", exit_()),
        ("exit # done", exit_()),
        ("exit;done", exit_()),
    ],
)
def test_what_people_write(text: str, insn: Insn) -> None:
    assert assemble(text).insns == (insn,)


def test_a_program() -> None:
    code = assemble(
        """
        # comments, and labels on a line of their own or before an instruction
        r1 = map[counts]
    again: more:   r0 = 1      ; both name this one
        if r0 != 0 goto out    // forward
        goto again
        call work
    out:
        exit
    work: exit
        """
    )
    assert dict(code.labels) == {"again": 1, "more": 1, "out": 5, "work": 6}
    assert [insn.ref for insn in code] == [MapRef("counts"), None, "out", "again", "work", None, None]
    assert assemble(str(code)) == code
    assert all(insn.line is None for insn in code)


def test_the_documented_program_is_the_same_in_python_and_text() -> None:
    python, text = re.findall(r"::\n\n((?:    .*\n|\n)+)", asm.__doc__ or "")
    names: dict[str, Any] = {"sys": sys}
    exec(textwrap.dedent(python), names)
    built = names["code"]
    exec(textwrap.dedent(text), names)
    assert built == names["code"]
    assert len(built) == 8


def test_labels_may_have_the_names_of_words() -> None:
    code = assemble("goto exit\nmap: lock: unknown: exit\nexit: exit")
    assert dict(code.labels) == {"map": 1, "lock": 1, "unknown": 1, "exit": 2}
    assert assemble(str(code)) == code


def test_lines_of_a_named_file_are_kept() -> None:
    code = assemble("\n  r0 = 0 ; zero\nexit", file="count.s")
    assert code.insns[0].line == SourceLine("count.s", 2, 3, "r0 = 0 ; zero")
    assert code.insns[1].line == SourceLine("count.s", 3, 1, "exit")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exit\n r1 = r11", "line 2, instruction 1 `r1 = r11`: register r11 does not exist; use r0 to r10"),
        ("w99999999999999999999 = 1", "does not exist; use w0 to w10"),
        ("r1 = 5000000000", r"does not fit 32 bits signed.*`r1 = <number> ll`"),
        ("r1 = 0x1ffffffffffffffff", "36893488147419103231 is out of range for <value>"),
        ("r1 = 0x" + "f" * 5000, "number 0xffffffffffffffffff... is too large"),
        ("r1 += 0xffffffff", "immediate 4294967295 does not fit"),
        ("if r0 == 4294967295 goto pc+0", r"does not fit 32 bits signed .*first \(`r1 = 4294967295 ll`\).*hexadecimal"),
        ("if r0 > 2147483648 goto pc+0", "2147483648 does not fit 32 bits signed"),
        ("w1 = 5 ll", "`ll` marks a constant of 64 bits, which `w<dst> = <imm>` does not take"),
        ("r1 += 5 ll", "`ll` marks a constant of 64 bits"),
        ("if r1 == 5 ll goto pc+0", "`ll` marks a constant of 64 bits"),
        ("call __htab_map_lookup_elem#330864", "no helper: the kernel put it in the place.*call kfunc"),
        ("call bpf_ktime_get_nss", r"not a helper nor a label; did you mean bpf_ktime_get_ns\?"),
        ("call ktime_get_ns", r"did you mean bpf_ktime_get_ns\?"),
        ("R0 = 1", "registers are written in lower case, r0"),
        ("call pc+1#1x", "unexpected '1x'"),
        ("r0 = \x1b[31m5", r"`r0 = \\x1b\[31m5`: unexpected '\\x1b"),
        ("if r1 == 4294967296 goto pc+1", "4294967296 does not fit 32 bits signed"),
        ("if r1 == 0x100000000 goto pc+1", "4294967296 is out of range for <hex>"),
        ("R0=1", "registers are written in lower case, r0"),
        ("goto pc+32768", "offset 32768 does not fit 16 bits signed"),
        ("r1 = *(u64 *)(r2 +32768)", "offset 32768 does not fit 16 bits signed"),
        ("r1 = *(u64 *)(r2)", "not an instruction; the nearest form is"),
        ("if w1 == r2 goto pc+1", "not an instruction; the nearest form is"),
        ("r1 = -r2", "both registers of `r<dst> = -r<dst>` must be the same"),
        ("r1 = be16 r2", "must be the same"),
        ("r2 = atomic64_xchg((u64 *)(r1 +0), r3)", "must be the same"),
        ("r1 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r3)", "1 must be 0"),
        ("r1 = map[counts][1]+8", "1 must be 0"),
        ("r1 = map[fd:-1]", "-1 is out of range for <lo>"),
        ("goto out", "line 1, instruction 0 `goto out`: 'out' is not a label; write `out:`"),
        ("exit\ncall out", "line 2, instruction 1 `call out`: 'out' is not a helper nor a label"),
        ("a: exit\na: exit", "line 2, instruction 1 `a: exit`: label 'a' is defined twice, first on line 1"),
        ("r1: exit", "r1 cannot name a label"),
        ("bpf_ktime_get_ns: exit", "bpf_ktime_get_ns cannot name a label"),
        ("pc: exit", "pc cannot name a label"),
        ("call bpf_ktime_get_ns#6", "bpf_ktime_get_ns is helper 5, not 6"),
        ("3: exit", "it says that its number is 3; number instructions from 0, by slot"),
        ("0: (b7) exit", "its opcode is not 0xb7"),
        ("exit exit", "not an instruction"),
        ("r1 = \x00", "unexpected"),
        ("r1 = \u0663", "unexpected"),
        ("BUG_ff", "not an instruction"),
    ],
)
def test_bad_text_is_refused(text: str, says: str) -> None:
    with pytest.raises(AsmError, match=says):
        assemble(text)


def test_the_file_is_named() -> None:
    with pytest.raises(AsmError, match=r"^count\.s:2, instruction 1 `foo`"):
        assemble("exit\nfoo", file="count.s")


def test_bytes_are_not_text() -> None:
    with pytest.raises(AsmError, match="assemble takes text, not bytes"):
        assemble(b"exit")  # type: ignore[arg-type]
