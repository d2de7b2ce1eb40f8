"""Lower ``zero`` and ``copy`` to wide loads and stores, large ones to a helper call.

A read of address 0 fails, and a probe read that fails clears what it was to fill: that is how the helper clears.
"""

from __future__ import annotations

from pybpf.compiler.addresses import address_of, pieces
from pybpf.compiler.ir import Instr, Operand, Unit
from pybpf.compiler.rewrite import Rewriter, lower
from pybpf.compiler.target import Target

__all__ = ["lower_memory", "probe_read"]

#: bytes up to which stores are fewer instructions or faster than a call
_MOST_STORED, _MOST_COPIED = 256, 128


def lower_memory(unit: Unit, target: Target) -> None:
    """Leave no ``zero`` and ``copy``."""
    lower(unit, target, {"zero": _zero, "copy": _copy})


def probe_read(to: Rewriter, space: str = "kernel") -> str:
    """The helper that reads memory of the kernel or the process; ``""`` where programs of the type have none."""
    for name in (f"probe_read_{space}", "probe_read"):
        if to.target.has_helper(to.unit.type, name):
            return name
    return ""


def _read(to: Rewriter, into: Operand, size: int, source: Operand) -> bool:
    helper = probe_read(to)
    if helper:
        to.emit("call", into, size, source, helper=helper)
    return bool(helper)


def _zero(to: Rewriter, instr: Instr) -> None:
    [pointer] = instr.args
    offset, size = instr.attrs["offset"], instr.attrs["size"]
    if size > _MOST_STORED:
        start = to.emit("add", pointer, offset) if offset else pointer
        if _read(to, start, size, 0):
            return
    beyond = address_of(pointer).offset  # what the alignment of the pointer itself is not counted in
    for at, width in pieces(beyond + offset, size):
        to.emit("store", pointer, 0, offset=at - beyond, size=width)


def _copy(to: Rewriter, instr: Instr) -> None:
    into, source = instr.args
    size = instr.attrs["size"]
    if size > _MOST_COPIED and _read(to, into, size, source):
        return
    for at, width in pieces(0, size):
        value = to.emit("load", source, offset=at, size=width, signed=0)
        to.emit("store", into, value, offset=at, size=width)
