"""aarch64: registers (arch/arm64/include/asm/ptrace.h), calling convention (AAPCS64), syscall numbers."""

from __future__ import annotations

from pybpf.arch.base import Arch

__all__ = ["AARCH64"]

_NUMBER = r"(?:0[xX][0-9a-fA-F]+|[0-9]+)"
_BASE = r"(?P<base>x[0-9]{1,2}|sp|fp|lr)"

AARCH64 = Arch(
    name="aarch64",
    endian="little",
    ordered_loads=False,
    nr_bpf=280,
    nr_perf_event_open=241,
    nr_fsopen=430,
    nr_membarrier=283,
    registers={
        **{f"x{i}": 8 * i for i in range(31)}, "sp": 248, "pc": 256, "pstate": 264, "orig_x0": 272, "syscallno": 280,
    },
    arguments=tuple(f"x{i}" for i in range(8)),
    syscall_arguments=("orig_x0", "x1", "x2", "x3", "x4", "x5"),
    result="x0",
    ip="pc",
    sp="sp",
    fp="x29",
    link="x30",
    stack_argument=0,
    compat_flag=1 << 22,  # TIF_32BIT of asm/thread_info.h
    kernel_bit=55,  # those above may be a tag
    syscall_prefix="__arm64_sys_",
    elf_machine="EM_AARCH64",
    perf_sample_period=272,
    ld_cache_flags=0x0A03,
    operand_registers={
        **{f"{width}{i}": 8 * i for width in "xw" for i in range(31)}, "sp": 248, "wsp": 248, "fp": 232, "lr": 240,
    },
    operand_syntax=(
        rf"#?(?P<const>-?{_NUMBER})",
        r"(?P<register>[a-z]\w*)",
        rf"\[{_BASE}(?:, ?#?(?P<offset>-?{_NUMBER}))?\]",
        rf"\[{_BASE}, ?(?P<index>[xw][0-9]{{1,2}})(?:, ?(?P<extend>lsl|uxtw|sxtw|sxtx)(?: #?(?P<shift>[0-4]))?)?\]",
    ),
)  # fmt: skip
