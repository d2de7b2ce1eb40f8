"""Zeros of which no verifier knows that they are: what one is added to has any value, as far as the verifier knows.

A loop that the verifier does not walk through turn by turn must not be checked, or cut down, for the values of its
first turn only.
"""

from __future__ import annotations

from collections.abc import Callable

from pybpf.compiler.ir import Instr, Operand

__all__ = ["Unknown"]


class Unknown:
    """Hides values from the verifier.

    :param emit: as :meth:`~pybpf.compiler.build.Builder.emit`.
    :param helper: what the zeros come from: ``get_prandom_u32``, of 32 bits, where there is no ``jiffies64``.
    """

    def __init__(self, emit: Callable[..., Instr], helper: str = "jiffies64") -> None:
        self._emit = emit
        self._hidden = 0
        # The kernel's clock of ticks has its highest bit never set. A product of what is 0 or 1 and of what has all
        # values has all values again, for the verifier.
        ticks = emit("call", helper=helper)
        self.zero = emit("mul", emit("lshr", ticks, 63), ticks)

    def hide(self, value: Operand) -> Instr:
        """The value, as one that can be any.

        Each gets a zero of its own: of copies, and of sums of one value and constants, verifiers since Linux 6.10
        remember how they differ, and find turns that differ otherwise to be new ones, without an end.
        """
        self._hidden += 1
        zero = self._emit("mul", self.zero, 2 * self._hidden + 1)
        return zero if value == 0 else self._emit("add", zero, value)

    def hide_again(self, value: Operand) -> Instr:
        """The same for a value that is hidden in every turn. Of an exclusive or, no verifier remembers anything."""
        return self._emit("xor", value, self.zero)
