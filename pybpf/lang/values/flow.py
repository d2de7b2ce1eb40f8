"""Small shapes of control flow inside one operation: do something unless a pointer is null; choose a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybpf.compiler.build import Builder
    from pybpf.compiler.ir import Operand

__all__ = ["Choice", "when"]


@contextmanager
def when(b: Builder, cond: str, left: Operand, right: Operand, name: str) -> Iterator[None]:
    """What is emitted inside runs only if a comparison holds."""
    inside, done = b.new_block(name), b.new_block("done")
    b.branch(cond, left, right, inside, done)
    b.seal(inside)
    b.start(inside)
    yield
    b.jump(done)
    b.seal(done)
    b.start(done)


class Choice:
    """A value that depends on the way: a variable of the IR builder.

    :param type: of the IR, where the first value is a constant that does not show it.
    """

    def __init__(self, b: Builder, first: Operand, type: str = "") -> None:
        self._b = b
        if type:
            b.declare(self, type)
        self.set(first)

    def set(self, value: Operand) -> None:
        """From here on it is this."""
        self._b.write(self, value)

    @property
    def value(self) -> Operand:
        """What it is here."""
        return self._b.read(self)
