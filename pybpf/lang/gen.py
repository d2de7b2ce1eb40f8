"""One compilation of a probe: what every value and statement is given while it compiles."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NoReturn

from pybpf.errors import CompileError

if TYPE_CHECKING:
    from pybpf.compiler.build import Builder
    from pybpf.compiler.ir import Unit
    from pybpf.compiler.target import Target

__all__ = ["Gen"]


class Gen:
    """The compilation of one probe.

    :ivar target: the kernel it is for.
    :ivar unit: what has been compiled: maps that are used are entered by their name.
    :ivar b: writes the instructions of the function that is being compiled.
    """

    target: Target
    unit: Unit
    b: Builder

    def fail(self, at: ast.AST, message: str) -> NoReturn:
        """Refuse the source at an AST node.

        :raises CompileError: always.
        """
        raise CompileError(message)
