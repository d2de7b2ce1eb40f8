"""What the pieces of code generation that both languages share need of a compilation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pybpf.compiler.build import Builder
    from pybpf.compiler.ir import Instr, Unit
    from pybpf.compiler.target import Target

__all__ = ["Emitter"]


class Emitter(Protocol):
    """The compilation of one probe, of either language.

    :ivar target: the kernel it is for.
    :ivar unit: what has been compiled.
    :ivar b: writes the instructions of the function that is being compiled.
    :ivar ctx: the program's context.
    :ivar reserves: whether the program may hold a record of a ring buffer.
    """

    target: Target
    unit: Unit
    b: Builder
    ctx: Instr
    reserves: bool

    def use_map(self, owner: Any) -> str:
        """Enter a map into the unit; gives the name that instructions use."""

    def abandon(self) -> None:
        """Compile what must be done before the program ends here: give back what it holds."""
