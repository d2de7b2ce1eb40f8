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

from __future__ import annotations

from pybpf.asm import build as _build
from pybpf.asm import operands as _operands
from pybpf.asm.build import *  # noqa: F403
from pybpf.asm.code import Code, Item
from pybpf.asm.decode import decode
from pybpf.asm.disassemble import STYLES, disassemble
from pybpf.asm.encode import Kfunc, encode
from pybpf.asm.helpers import HELPERS, HELPERS_BY_ID, Helper, find_helper
from pybpf.asm.insn import Insn, KfuncRef, Label, MapRef, Ref, SourceLine, slots
from pybpf.asm.opcodes import FEATURES, FORMS, Form, find_form
from pybpf.asm.operands import *  # noqa: F403
from pybpf.asm.parse import assemble

__all__ = [
    "FEATURES", "FORMS", "HELPERS", "HELPERS_BY_ID", "STYLES", "Code", "Form", "Helper", "Insn", "Item", "Kfunc",
    "KfuncRef", "Label", "MapRef", "Ref", "SourceLine", "assemble", "decode", "disassemble", "encode", "find_form",
    "find_helper", "slots",
]  # fmt: skip
__all__ += _build.__all__
__all__ += _operands.__all__
