"""``ctx``: the context of a probe as it is, for what its parameters do not say."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pybpf.lang.values.ints import Int
from pybpf.lang.values.val import Val
from pybpf.sys.near import did_you_mean
from pybpf.types import u64

if TYPE_CHECKING:
    from pybpf.compiler.ir import Instr
    from pybpf.lang.front.gen import Gen

__all__ = ["Context"]

_METHOD = "reg"


class Context(Val):
    """A context that begins with the registers (``struct pt_regs``): ``ctx.reg("rdi")``."""

    what = "the context"

    def __init__(self, ctx: Instr) -> None:
        self._ctx = ctx

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name != _METHOD:
            self.refuse(gen, at, f"has no attribute {name!r}; ctx.reg(\"NAME\") is a register")
        return _Registers(self._ctx)


class _Registers(Val):
    """``ctx.reg``"""

    what = "ctx.reg"

    def __init__(self, ctx: Instr) -> None:
        self._ctx = ctx

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        arch = gen.target.arch
        name = gen.const(args[0]) if len(args) == 1 and not named else None
        if not isinstance(name, str):
            gen.fail(at, "ctx.reg() takes the name of a register as a constant: ctx.reg(\"" + arch.arguments[0] + "\")")
        known = {**_full_width(arch.operand_registers), **arch.registers}
        if name not in known:
            gen.fail(at, f"{arch.name} has no register {name!r}{did_you_mean(name, known)}; "
                     f"it has {', '.join(arch.registers)}")  # fmt: skip
        return Int(gen.b.emit("load", self._ctx, offset=known[name], size=8, signed=False), u64)


def _full_width(operands: Mapping[str, int]) -> dict[str, int]:
    """The names that assembler has for whole registers; of several widths the first is the widest."""
    names: dict[int, str] = {}
    for name, offset in operands.items():
        names.setdefault(offset, name)
    return {name: offset for offset, name in names.items()}
