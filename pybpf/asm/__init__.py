"""The eBPF instruction set: programs from Python or text, to bytes and back; the helper table. No system calls.

Count the calls of one process, in Python::

    from pybpf.asm import *

    code = Code([
        call("get_current_pid_tgid"),
        rsh(R0, 32),
        jne(R0, 4242, "out"),
        ld_map_value(R1, "counts"),
        mov(R2, 1),
        atomic_add(DW, R1, 0, R2),
        label("out"),
        mov(R0, 0),
        exit_(),
    ])
    data = encode(code, maps={"counts": 7}, endian=sys.byteorder)      # 7: the map's file descriptor

and the same as text, which ``str(code)`` gives back::

    code = assemble('''
        call bpf_get_current_pid_tgid
        r0 >>= 32
        if r0 != 4242 goto out
        r1 = map[counts][0]+0
        r2 = 1
        lock *(u64 *)(r1 +0) += r2
    out:
        r0 = 0
        exit
    ''')

Every error is an :class:`~pybpf.errors.AsmError` that names the instruction, numbered by slot, as the kernel does.
"""

# ruff: noqa: F405 (names of the star imports)
from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.asm.build import *  # noqa: F403
    from pybpf.asm.code import Code, Item
    from pybpf.asm.decoder import decode
    from pybpf.asm.disassembler import STYLES, disassemble
    from pybpf.asm.encoder import Kfunc, encode
    from pybpf.asm.helpers import HELPERS, HELPERS_BY_ID, Helper, find_helper
    from pybpf.asm.insn import Insn, KfuncRef, Label, MapRef, Ref, SourceLine, slots
    from pybpf.asm.opcodes import FEATURES, FORMS, Form, find_form
    from pybpf.asm.operands import *  # noqa: F403
    from pybpf.asm.parse import assemble

__all__ = [
    "DW",
    "FEATURES",
    "FORMS",
    "FP",
    "HELPERS",
    "HELPERS_BY_ID",
    "R0",
    "R1",
    "R2",
    "R3",
    "R4",
    "R5",
    "R6",
    "R7",
    "R8",
    "R9",
    "R10",
    "STYLES",
    "W0",
    "W1",
    "W2",
    "W3",
    "W4",
    "W5",
    "W6",
    "W7",
    "W8",
    "W9",
    "W10",
    "B",
    "Code",
    "Form",
    "H",
    "Helper",
    "Insn",
    "Item",
    "Kfunc",
    "KfuncRef",
    "Label",
    "MapRef",
    "Operand",
    "Ref",
    "Reg",
    "Reg32",
    "Register",
    "Size",
    "SourceLine",
    "Target",
    "W",
    "add",
    "addr_space_cast",
    "and_",
    "arsh",
    "assemble",
    "atomic_add",
    "atomic_and",
    "atomic_cmpxchg",
    "atomic_or",
    "atomic_xchg",
    "atomic_xor",
    "be",
    "bswap",
    "call",
    "call_kfunc",
    "call_local",
    "decode",
    "disassemble",
    "div",
    "encode",
    "exit_",
    "find_form",
    "find_helper",
    "goto",
    "gotol",
    "gotox",
    "jeq",
    "jge",
    "jgt",
    "jle",
    "jlt",
    "jne",
    "jset",
    "jsge",
    "jsgt",
    "jsle",
    "jslt",
    "label",
    "ld_abs",
    "ld_btf_id",
    "ld_imm64",
    "ld_ind",
    "ld_map",
    "ld_map_index",
    "ld_map_value",
    "ld_map_value_index",
    "ld_subprog",
    "ldsx",
    "ldx",
    "le",
    "load_acquire",
    "lsh",
    "may_goto",
    "mod",
    "mov",
    "movsx",
    "mul",
    "neg",
    "or_",
    "rsh",
    "sdiv",
    "slots",
    "smod",
    "st",
    "store_release",
    "stx",
    "sub",
    "xor",
]  # fmt: skip

__getattr__ = lazy_names(
    __name__,
    {
        "build": (
            "Operand Register Target add addr_space_cast and_ arsh atomic_add atomic_and atomic_cmpxchg atomic_or "
            "atomic_xchg atomic_xor be bswap call call_kfunc call_local div exit_ goto gotol gotox jeq jge jgt "
            "jle jlt jne jset jsge jsgt jsle jslt label ld_abs ld_btf_id ld_imm64 ld_ind ld_map ld_map_index "
            "ld_map_value ld_map_value_index ld_subprog ldsx ldx le load_acquire lsh may_goto mod mov movsx mul "
            "neg or_ rsh sdiv smod st store_release stx sub xor"
        ),
        "code": "Code Item",
        "decoder": "decode",
        "disassembler": "STYLES disassemble",
        "encoder": "Kfunc encode",
        "helpers": "HELPERS HELPERS_BY_ID Helper find_helper",
        "insn": "Insn KfuncRef Label MapRef Ref SourceLine slots",
        "opcodes": "FEATURES FORMS Form find_form",
        "operands": "DW FP R0 R1 R2 R3 R4 R5 R6 R7 R8 R9 R10 W0 W1 W2 W3 W4 W5 W6 W7 W8 W9 W10 B H Reg Reg32 Size W",
        "parse": "assemble",
    },
)
