"""x86_64: registers (arch/x86/include/asm/ptrace.h), calling convention (System V ABI), syscall numbers."""

from __future__ import annotations

from pybpf.arch.base import Arch

__all__ = ["X86_64"]

#: rows of names for one register, widest first -> its offset in pt_regs
_OPERANDS = {
    **{f"r{x}x e{x}x {x}x {x}l": offset for x, offset in zip("abcd", (80, 40, 88, 96))},
    **{f"r{x} e{x} {x} {x}l": offset for x, offset in (("si", 104), ("di", 112), ("bp", 32), ("sp", 152))},
    **{f"r{n} r{n}d r{n}w r{n}b": 72 - 8 * (n - 8) for n in range(8, 12)},
    **{f"r{n} r{n}d r{n}w r{n}b": 24 - 8 * (n - 12) for n in range(12, 16)},
    "rip": 128,
}
_NUMBER = r"(?:0[xX][0-9a-fA-F]+|[0-9]+)"
_SYMBOL = r"(?P<symbol>[A-Za-z_.][\w.$@]*)"
#: The registers that can be part of an address: all 64 bits of them. rip only with a symbol: what a bare displacement
#: from it counts from, the note does not tell.
_BASE = r"%(?P<base>r(?:[a-d]x|[sd]i|[sb]p|[0-9]{1,2}))"
_INDEX = r"%(?P<index>r(?:[a-d]x|[sd]i|[sb]p|[0-9]{1,2}))"
_ADDRESS = rf"\((?:{_BASE})?(?:,{_INDEX}(?:,(?P<scale>[1248]))?)?\)"

X86_64 = Arch(
    name="x86_64",
    endian="little",
    ordered_loads=True,
    nr_bpf=321,
    nr_perf_event_open=298,
    nr_fsopen=430,
    nr_membarrier=324,
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
    compat_flag=1 << 1,  # TS_COMPAT of asm/thread_info.h
    kernel_bit=63,
    syscall_prefix="__x64_sys_",
    elf_machine="EM_X86_64",
    perf_sample_period=168,
    ld_cache_flags=0x0303,
    operand_registers={name: offset for names, offset in _OPERANDS.items() for name in names.split()},
    operand_syntax=(
        rf"\$(?P<const>-?{_NUMBER})",
        rf"\${_SYMBOL}(?P<offset>[+-]{_NUMBER})?(?P<address>)",
        r"%(?P<register>\w+)",
        rf"(?P<offset>-?{_NUMBER})?{_ADDRESS}",
        rf"{_SYMBOL}(?P<offset>[+-]{_NUMBER})?(?:\(%(?P<base>rip)\))?",
        rf"{_SYMBOL}(?P<offset>[+-]{_NUMBER})?{_ADDRESS}",
    ),
)  # fmt: skip
