"""Reading the verifier's log in the forms that it had from Linux 4.18 to today."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.prog import Rejection, advice_for, read_log

pytestmark = pytest.mark.pure

LOGS = {
    "4.18": (
        "0: (7b) *(u64 *)(r10 -8) = r1\n1: (bf) r0 = r2\nR2 !read_ok\n",
        Rejection("R2 !read_ok", 1, "r0 = r2", ""),
    ),
    "5.4, state on lines of its own": (
        "0: (b7) r1 = 5\n1: R1_w=inv5 R10=fp0\n1: (79) r0 = *(u64 *)(r1 +0)\nR1 invalid mem access 'inv'\n"
        "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
        Rejection("R1 invalid mem access 'inv'", 1, "r0 = *(u64 *)(r1 +0)", ""),
    ),
    "5.10, precision tracking and a source line": (
        "func#0 @0\n0: R1=ctx(id=0,off=0,imm=0) R10=fp0\n; size = args[0]\n0: (79) r2 = *(u64 *)(r1 +0)\n"
        "1: R1=ctx(id=0,off=0,imm=0) R2_w=inv(id=0) R10=fp0\nlast_idx 1 first_idx 0\n"
        "regs=4 stack=0 before 0: (79) r2 = *(u64 *)(r1 +0)\n; read(buffer, size)\n5: (85) call bpf_probe_read#4\n"
        "R2 min value is negative, either use unsigned or 'var &= const'\nprocessed 6 insns (limit 1000000) "
        "max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
        Rejection(
            "R2 min value is negative, either use unsigned or 'var &= const'",
            5, "call bpf_probe_read#4", "read(buffer, size)",
        ),
    ),
    "6.12, state behind the instruction": (
        "0: R1=ctx() R10=fp0\n; value = array[index] @ probe.py:12\n"
        "8: (0f) r0 += r6                      ; R0_w=map_value(map=values,ks=4,vs=8,smin=0)\n"
        "9: (79) r0 = *(u64 *)(r0 +0)\ninvalid access to map value, value_size=8 off=4095 size=8\n"
        "R0 max value is outside of the allowed memory range\nprocessed 10 insns (limit 1000000) max_states\n",
        Rejection(
            "R0 max value is outside of the allowed memory range (invalid access to map value, value_size=8 off=4095 "
            "size=8)",
            9, "r0 = *(u64 *)(r0 +0)", "probe.py:12: value = array[index]",
        ),
    ),
    "a source line with an operator like the mark in front of the file": (
        "; x = a @ b @ probe.py:12\n1: (bf) r0 = r2\nR2 !read_ok\n",
        Rejection("R2 !read_ok", 1, "r0 = r2", "probe.py:12: x = a @ b"),
    ),
    "source line of a function that has none": (
        "; x = y @ probe.py:12\n0: (85) call pc+1\n;  @ :0\n2: (bf) r0 = r2\nR2 !read_ok\n",
        Rejection("R2 !read_ok", 2, "r0 = r2", ""),
    ),
    "6.18, liveness first": (
        "Live regs before insn:\n      0: .1........ (61) r0 = *(u32 *)(r1 +2000)\n      1: 0......... (95) exit\n"
        "0: R1=ctx() R10=fp0\n0: (61) r0 = *(u32 *)(r1 +2000)\ninvalid bpf_context access off=2000 size=4\n"
        "processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
        Rejection("invalid bpf_context access off=2000 size=4", 0, "r0 = *(u32 *)(r1 +2000)", ""),
    ),
    "states after the reason": (
        "0: (05) goto pc-1\ninfinite loop detected at insn 0\ncur state: R1=ctx() R10=fp0\nold state: R1=ctx()\n"
        "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
        Rejection("infinite loop detected at insn 0", 0, "goto pc-1", ""),
    ),
    "another branch": (
        "2: (15) if r0 == 0x0 goto pc+2        ; R0=5\n\nfrom 2 to 5: R0=0 R10=fp0\n5: (79) r0 = *(u64 *)(r0 +0)\n"
        "R0 invalid mem access 'scalar'\n",
        Rejection("R0 invalid mem access 'scalar'", 5, "r0 = *(u64 *)(r0 +0)", ""),
    ),
    "before any instruction": (
        "unreachable insn 7\nprocessed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0\n",
        Rejection("unreachable insn 7", 7, "", ""),
    ),
    "named instruction is another one": (
        "3: (b7) r0 = 1\nback-edge from insn 9 to 4\n",
        Rejection("back-edge from insn 9 to 4", 9, "", ""),
    ),
    "no line end": (
        "2: (85) call bpf_tail_call#12\nexpected prog array map for tail callprocessed 3 insns (limit 1000000) max",
        Rejection("expected prog array map for tail call", 2, "call bpf_tail_call#12", ""),
    ),
    "stray quote": (
        "3: (85) call bpf_ringbuf_reserve#131\nR2 is not a known constant'\n",
        Rejection("R2 is not a known constant", 3, "call bpf_ringbuf_reserve#131", ""),
    ),
    "state before the reason": (
        "4: (95) exit\nUnreleased reference id=1 alloc_insn=3\n"
        "BPF_EXIT instruction in main prog would lead to reference leak\n",
        Rejection(
            "BPF_EXIT instruction in main prog would lead to reference leak (Unreleased reference id=1 alloc_insn=3)",
            4, "exit", "",
        ),
    ),
    "footer of 4.18": (
        "0: (95) exit\nR0 !read_ok\nprocessed 1 insns, stack depth 0\n",
        Rejection("R0 !read_ok", 0, "exit", ""),
    ),
    "7.3, with a report": (
        "0: R1=ctx() R10=fp0\n; x = y @ wrong.py:3\n2: (bf) r0 = r3\nR3 !read_ok\n\n"
        "Verification failed: Register Type Safety: Unreadable register\n\nReason:\n"
        "  R3 is not readable here. A previous operation invalidated this register, so the verifier cannot\n"
        "  use it as an input.\n\nAt:\n  wrong @ wrong.py:3:5\n  Source context:\n  >>> 3 | x = y\n"
        "        | ^-- error: R3 is not readable\n  Instruction context:\n      1 | (85) call bpf_ktime_get_ns#5\n"
        "  >>> 2 | (bf) r0 = r3\n\nCausal path:\n  wrong @ wrong.py:2:5\n  Instruction context:\n"
        "  >>> 1 | (85) call bpf_ktime_get_ns#5\n\nSuggestion:\n"
        "  Avoid using the register after it is invalidated, or initialize it again before this\n  instruction.\n\n"
        "processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
        Rejection(
            "R3 !read_ok", 2, "r0 = r3", "wrong.py:3: x = y",
            "Avoid using the register after it is invalidated, or initialize it again before this instruction.",
        ),
    ),
    "7.3, instruction only in the report": (
        "last insn is not an exit or jmp\n\nVerification failed: Program Structure: Subprogram can fall through\n\n"
        "At:\n  insn 1\n       | ^-- error: subprogram can fall through\n  Instruction context:\n"
        "      0 | (95) exit\n  >>> 1 | (b7) r0 = 0\n\nprocessed 0 insns (limit 1000000) max_states_per_insn 0\n",
        Rejection("last insn is not an exit or jmp", 1, "", ""),
    ),
    "7.3, reason only in the report": (
        "Verification failed: Policy: Operation is not allowed\n\nReason:\n  The helper is not.\n",
        Rejection("Policy: Operation is not allowed", None, "", ""),
    ),
    "success": (
        "0: R1=ctx() R10=fp0\n0: (b7) r0 = 7                        ; R0=7\n1: (95) exit\n"
        "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
        Rejection("", 1, "exit", ""),
    ),
    "statistics": (
        "verification time 45 usec\nstack depth 8\nprocessed 2 insns (limit 1000000) max_states_per_insn 0\n",
        Rejection("", None, "", ""),
    ),
    "nothing": ("", Rejection("", None, "", "")),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_log(name: str) -> None:
    log, expected = LOGS[name]
    assert read_log(log) == expected


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    read_log(text)
    advice_for(text)


@given(st.lists(st.sampled_from([part for log, _ in LOGS.values() for part in log.splitlines(keepends=True)])))
def test_any_mixture_of_lines_is_taken(lines: list[str]) -> None:
    assert isinstance(read_log("".join(lines)), Rejection)


def test_long_log_is_read_from_its_end() -> None:
    log = "1: (b7) r0 = 7                        ; R0=7\n" * 1_000_000 + "2: (bf) r0 = r4\nR4 !read_ok\n"
    assert read_log(log) == Rejection("R4 !read_ok", 2, "r0 = r4", "")


def test_no_advice_where_nothing_is_known() -> None:
    assert advice_for("a reason that no kernel gives") == ""
