"""A zero of which no verifier knows that it is one: what it is added to has any value, as far as the verifier knows.

A loop that the verifier does not walk through turn by turn must not be checked, or cut down, for the values of its
first turn only.
"""

from __future__ import annotations

from collections.abc import Callable

from pybpf.compiler.ir import Instr

__all__ = ["unknown_zero"]


def unknown_zero(emit: Callable[..., Instr]) -> Instr:
    """Write it; as :meth:`~pybpf.compiler.build.Builder.emit` does.

    The kernel's clock of ticks has its highest bit never set. A product of what is 0 or 1 and of what has all values
    has all values again, for the verifier.
    """
    ticks = emit("call", helper="jiffies64")
    return emit("mul", emit("lshr", ticks, 63), ticks)
