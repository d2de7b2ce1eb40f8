"""riscv64: registers (arch/riscv/include/asm/ptrace.h), calling convention (RISC-V psABI), syscall numbers.

What a described kernel of this architecture needs; no test has run on such a machine.
"""

from __future__ import annotations

from pybpf.arch.base import Arch

__all__ = ["RISCV64"]

_NUMBER = r"(?:0[xX][0-9a-fA-F]+|[0-9]+)"
#: in the order of pt_regs, from its start: pc, which stands in the place of x0, and then x1 to x31 by their ABI names
_ORDER = (
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", *(f"a{i}" for i in range(8)),
    *(f"s{i}" for i in range(2, 12)), "t3", "t4", "t5", "t6",
)  # fmt: skip
_REGISTERS = {name: 8 * index for index, name in enumerate(_ORDER)}

RISCV64 = Arch(
    name="riscv64",
    endian="little",
    ordered_loads=False,
    nr_bpf=280,
    nr_perf_event_open=241,
    nr_fsopen=430,
    nr_membarrier=283,
    registers={**_REGISTERS, "status": 256, "badaddr": 264, "cause": 272, "orig_a0": 280},
    arguments=tuple(f"a{i}" for i in range(8)),
    syscall_arguments=("orig_a0", "a1", "a2", "a3", "a4", "a5"),
    result="a0",
    ip="pc",
    sp="sp",
    fp="s0",
    link="ra",
    stack_argument=0,
    compat_flag=0,  # the bit has moved from release to release
    kernel_bit=63,
    syscall_prefix="__riscv_sys_",
    elf_machine="EM_RISCV",
    perf_sample_period=256,
    ld_cache_flags=0x1003,
    operand_registers={name: offset for name, offset in _REGISTERS.items() if name != "pc"} | {"fp": 64},
    operand_syntax=(
        rf"(?P<const>-?{_NUMBER})",
        r"(?P<register>[a-z]\w*)",
        rf"(?P<offset>-?{_NUMBER})?\((?P<base>[a-z]\w*)\)",
    ),
)  # fmt: skip
