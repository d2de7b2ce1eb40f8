"""What pybpf needs to know of a processor architecture: one :class:`Arch` value each."""

from __future__ import annotations

from collections.abc import Mapping

from pybpf.record import dataclass

__all__ = ["Arch"]


@dataclass(frozen=True, eq=False)
class Arch:
    """The facts of one architecture. Offsets are bytes into the ``struct pt_regs`` that a BPF program sees.

    A new architecture is one file with one such value, an entry in :mod:`pybpf.arch`, and a row in its test.
    """

    name: str  #: as ``uname -m`` prints it
    endian: str  #: ``"little"`` or ``"big"``
    ordered_loads: bool  #: no load or store is seen to pass an earlier load: reading shared memory needs no fence
    nr_bpf: int  #: syscall number of bpf(2)
    nr_perf_event_open: int  #: syscall number of perf_event_open(2)
    nr_fsopen: int  #: syscall number of fsopen(2); fsconfig and fsmount follow it
    nr_membarrier: int  #: syscall number of membarrier(2)
    registers: Mapping[str, int]  #: every register name -> offset in pt_regs
    arguments: tuple[str, ...]  #: registers that hold a function's first arguments
    syscall_arguments: tuple[str, ...]  #: registers that hold a syscall's arguments
    result: str  #: register that holds a function's result
    ip: str  #: instruction pointer
    sp: str  #: stack pointer
    fp: str  #: frame pointer
    link: str | None  #: register with the return address at function entry; None: it is at [sp]
    stack_argument: int  #: offset from sp, at entry, of the first argument that is passed on the stack
    #: bit of the running task's ``thread_info`` (in ``status`` if it has that, else in ``flags``): it is in a system
    #: call as 32-bit programs make them
    compat_flag: int
    kernel_bit: int  #: set in addresses of the kernel, and in no address of a process, whatever tag that has
    syscall_prefix: str  #: prefix of syscall functions in the kernel's symbol table
    elf_machine: str  #: as elf.h calls it, such as ``"EM_X86_64"``
    perf_sample_period: int  #: offset of sample_period in bpf_perf_event_data
    ld_cache_flags: int  #: flags of this architecture's libraries in glibc's /etc/ld.so.cache (FLAG_ELF_LIBC6 | ...)
    operand_registers: Mapping[str, int]  #: register names in assembler operands, any width -> offset in pt_regs
    #: Assembler operands as USDT notes have them: regular expressions for a whole operand. What their groups mean is
    #: in pybpf.symbols.usdt_args: const, register, base, index, scale, shift, extend, offset, symbol, address.
    operand_syntax: tuple[str, ...]
