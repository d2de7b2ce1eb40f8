"""x86_64: registers (arch/x86/include/asm/ptrace.h), calling convention (System V ABI), syscall numbers."""

from __future__ import annotations

from pybpf.arch.base import Arch

__all__ = ["X86_64"]

X86_64 = Arch(
    name="x86_64",
    endian="little",
    nr_bpf=321,
    nr_perf_event_open=298,
    nr_fsopen=430,
    registers={
        "r15": 0, "r14": 8, "r13": 16, "r12": 24, "bp": 32, "bx": 40, "r11": 48, "r10": 56, "r9": 64, "r8": 72,
        "ax": 80, "cx": 88, "dx": 96, "si": 104, "di": 112, "orig_ax": 120, "ip": 128, "cs": 136, "flags": 144,
        "sp": 152, "ss": 160,
    },
    arguments=("di", "si", "dx", "cx", "r8", "r9"),
    syscall_arguments=("di", "si", "dx", "r10", "r8", "r9"),
    result="ax",
    ip="ip",
    sp="sp",
    fp="bp",
    link=None,
    stack_argument=8,
    syscall_prefix="__x64_sys_",
    elf_machine="EM_X86_64",
    perf_sample_period=168,
)  # fmt: skip
