"""Lower ``element``: the address of an element of an array, behind the test that bounds its index.

It comes when nothing is shared any more: an index times a size that was computed before the test would have bounds in
one register and be used in another, which the verifier refuses.
"""

from __future__ import annotations

from pybpf.compiler.ir import Instr, Operand, Unit
from pybpf.compiler.rewrite import Rewriter, lower
from pybpf.compiler.target import Target

__all__ = ["lower_elements"]


def lower_elements(unit: Unit, target: Target) -> None:
    """Leave no ``element``."""
    lower(unit, target, {"element": _element})


def _element(to: Rewriter, instr: Instr) -> Operand:
    array, index = instr.args
    size = instr.attrs["size"]
    if size & (size - 1):
        index = to.emit("mul", index, size)
    elif size > 1:
        index = to.emit("shl", index, size.bit_length() - 1)
    return to.emit("add", array, index)
