"""What an expression of a probe is while it is compiled: a :class:`Val`, which knows how each operation on it compiles.

Every method is given the compilation in progress (``gen``) and the AST node that asks (``at``), for errors. The
methods here refuse, naming what the value is; a subclass overrides what it can do.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pybpf.compiler.ir import Block, Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.values.ints import Int

__all__ = ["Val", "index_node"]


#: general advice: of an address, of what does not change, of what is no number
_ADDRESS = "what is at an address is read by read_user(x, u32), say, or cast(\"struct NAME\", x).member"
_KEPT = "keep what changes in a variable, a Struct or a map"
_INTEGER = "write a number"


def index_node(at: ast.AST) -> ast.AST:
    """The node of the index, where ``at`` is an item, or an assignment to one."""
    return getattr(getattr(at, "target", at), "slice", at)


class Val:
    """A value of a probe: a constant of Python, an integer in a register, a place in memory, a map, ..."""

    #: whether there is a value, rather than None: of one that may be None it is None before the probe has asked
    known: bool | None = True
    #: whether its attributes are the same as long as the probe runs
    steady = False

    @property
    def what(self) -> str:
        """What messages call it, with an article: ``"a u32"``, ``"the map 'begun'"``."""
        return f"a {type(self).__name__}"

    @property
    def instead(self) -> str:
        """What to write where something else is wanted than this value: ``"write which field: x.pid"``; or ``""``."""
        return ""

    def refuse(self, gen: Gen, at: ast.AST, doing: str) -> NoReturn:
        """Fail: ``what`` and what it cannot do."""
        gen.fail(at, f"{self.what} {doing}")

    def cannot(self, gen: Gen, at: ast.AST, doing: str, general: str) -> NoReturn:
        """Fail: ``what``, what it cannot do, and what to write :attr:`instead`, or in general."""
        self.refuse(gen, at, f"{doing}: {self.instead or general}")

    # reading

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        """``value.name``"""
        self.cannot(gen, at, f"has no attribute {name!r}", _ADDRESS)

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        """``value[index]``; a slice is a constant ``slice`` or a :class:`Val` of its own."""
        self.cannot(gen, at, "cannot be indexed", _ADDRESS)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        """``item in value``"""
        self.cannot(gen, at, "does not support 'in'", "maps, text, tuples, arrays of integers and ranges do")

    def elements(self, gen: Gen, at: ast.AST) -> Sequence[Val]:
        """The values that unpacking or an unrolled ``for`` sees."""
        self.refuse(gen, at, "cannot be gone through: range(...), arrays and tuples can")

    def length(self, gen: Gen, at: ast.AST) -> Val:
        """``len(value)``"""
        self.cannot(gen, at, "has no length", "text, arrays, tuples and ranges have one")

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        """``value(*args, **named)``"""
        self.cannot(gen, at, "cannot be called", "functions, types and methods can; leave the parentheses away")

    # writing

    def set_attr(self, gen: Gen, name: str, value: Val, at: ast.AST) -> None:
        """``value.name = value``"""
        self.cannot(gen, at, f"has no attribute {name!r} that can be assigned to", _KEPT)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        """``value[index] = value``"""
        self.cannot(gen, at, "does not support assignment to an item", _KEPT)

    def add_to_attr(self, gen: Gen, name: str, op: str, value: Val, at: ast.AST) -> None:
        """``self.name op= value``; by default read, compute, write."""
        self.set_attr(gen, name, self.attr(gen, name, at).binary(gen, op, value, at), at)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        """``self[index] op= value``; by default read, compute, write."""
        self.set_item(gen, index, self.item(gen, index, at).binary(gen, op, value, at), at)

    def del_item(self, gen: Gen, index: Val, at: ast.AST) -> None:
        """``del value[index]``"""
        self.cannot(gen, at, "does not support 'del'", "'del' takes variables, and items of maps, del m[key]")

    # computing

    def unary(self, gen: Gen, op: str, at: ast.AST) -> Val:
        """``op value``; op is ``+``, ``-`` or ``~``."""
        self.cannot(gen, at, f"does not support unary {op!r}", _INTEGER)

    def binary(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        """``value op other``; op as Python writes it."""
        self.cannot(gen, at, f"does not support {op!r}", _INTEGER)

    def compare(self, gen: Gen, op: str, other: Val, at: ast.AST) -> Val:
        """``value op other``; op is ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``is`` or ``is not``."""
        doing = f"cannot be compared by {op!r} with {other.what}"
        if "char[" in self.what and op not in ("==", "!="):
            self.refuse(gen, at, f"{doing}: text is compared by == and !=")
        self.cannot(gen, at, doing, "compare numbers with numbers, text with text, structs with structs of their type")

    def branch(self, gen: Gen, yes: Block, no: Block, at: ast.AST) -> None:
        """End the block: to ``yes`` if the value is true in Python's sense."""
        self.refuse(gen, at, "is neither true nor false: compare it, or what is in it, with something")

    def assumed(self, known: bool | None) -> Val:
        """The same value where it is there, where it is None, or where that is not known."""
        return self

    @property
    def clean(self) -> bool:
        """Whether :meth:`store` leaves no byte behind the end of text that is not zero."""
        return True

    def seen(self) -> Val:
        """What reading a variable gives: of a value that may be None what the probe has found it to be."""
        return self

    def same(self, other: Val) -> bool:
        """Whether a variable that has this or that, depending on the way, has one value."""
        return self is other

    # becoming something else

    def scalar(self, gen: Gen, at: ast.AST) -> Operand:
        """The value in a register, sign- or zero-extended to 64 bits."""
        self.cannot(gen, gen.given(at), "is not an integer", _INTEGER)

    def number(self, gen: Gen, at: ast.AST) -> Int:
        """The value as an integer with a type."""
        self.cannot(gen, gen.given(at), "is not an integer", _INTEGER)

    def check_kept(self, gen: Gen, kind: Any, at: ast.AST) -> None:
        """Refuse to be kept as an integer or pointer type of :mod:`pybpf.types` that it says nothing of."""

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]] | None:
        """How a variable keeps the value where control flow joins: what must be equal on all ways, and the operands
        that may differ. None: the very same value must come from everywhere. By default so."""
        return None

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        """The value with other operands, as many as :meth:`ssa` gave."""
        raise NotImplementedError

    def kept(self, gen: Gen) -> Val:
        """The value where it does not depend on what has not been computed yet; by default the value itself."""
        return self

    def bound(self, gen: Gen, at: ast.AST) -> Val:
        """What a variable keeps when the value is assigned to it: of text a copy, which nothing changes."""
        return self.kept(gen)

    def declare(self, gen: Gen, value: Val | None, at: ast.AST) -> Val:
        """``name: self = value``, or ``name: self`` where the value is None: what the variable is."""
        self.refuse(gen, getattr(at, "annotation", at), "is not a type that a variable can have: write u8 .. u64, "
                    "s8 .. s64, bool, char[N], T[N] or a Struct")  # fmt: skip

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        """Write the value to memory as type ``kind`` of :mod:`pybpf.types`, all of its bytes."""
        self.cannot(gen, gen.given(at), f"cannot be kept as {getattr(kind, '__name__', kind)}",
                    "declare the type that the value has")  # fmt: skip
