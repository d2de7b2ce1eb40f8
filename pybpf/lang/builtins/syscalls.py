"""``syscall``: the numbers of system calls, of the architecture that is compiled for."""

from __future__ import annotations

import ast

from pybpf.arch import syscall_names
from pybpf.lang.builtins.builtin import builtin, meant_for_probes
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.constants import Const
from pybpf.lang.values.val import Val
from pybpf.sys.near import did_you_mean

__all__ = ["syscall"]


def _syscall(gen: Gen, at: ast.AST, name: Val) -> Val:
    numbers = {each: number for number, each in syscall_names(gen.target.arch).items()}
    wanted = gen.const(name)
    if not isinstance(wanted, str):
        gen.fail(at, f"the name of a system call is a constant string, not {name.what}")
    if wanted not in numbers:
        gen.fail(at, f"{gen.target.arch.name} has no system call {wanted!r}{did_you_mean(wanted, numbers)}")
    return Const(numbers[wanted])


@builtin(_syscall)
def syscall(name: str) -> int:
    """The number of a system call, known while compiling: ``if args.id == syscall("openat"):``."""
    meant_for_probes()
