"""A row of the table of functions: name, signature, where it may stand, how it is checked and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

from pybpf.bt.lower.values import Scalar, Value
from pybpf.bt.syntax import tree
from pybpf.bt.types import INT64, NONE, Aggregate, Type
from pybpf.lazy import regex
from pybpf.record import dataclass

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen

__all__ = ["DONE", "Arguments", "Constant", "Function", "Lowering", "nothing"]

Arguments = Sequence[Union[tree.Expression, tree.TypeOf]]
#: (checker, node, arguments) -> the type of the value
Check = Callable[["Checker", tree.Node, Any], Type]
#: (compilation, node, arguments) -> the value
Lowering = Callable[["Gen", tree.Node, Any], Value]
#: (checker, node, arguments) -> the value that is known while compiling, or None
Constant = Callable[["Checker", tree.Node, Any], Union[int, str, bool, None]]

#: What a function that is called for its effect gives.
DONE = Scalar(INT64, 0)
_PARAMETER = regex(r"[^,]+")


@dataclass(frozen=True)
class Function:
    """A function or builtin.

    :ivar signature: as documented, ``"str(pointer, [size])"``: in brackets what may be left out, ``...`` any number
        more; of a builtin without parameters the name alone. A function that can be called without arguments may be
        written without parentheses, too.
    :ivar text: what it does, for the documentation.
    :ivar kinds: the kinds of probes that it may stand in; empty: all.
    :ivar not_kinds: those that it may not stand in.
    :ivar unsafe: it changes what is traced: needs ``--unsafe``.
    :ivar aggregate: it makes a map an aggregate: (checker, node, arguments) -> the map's type of values.
    """

    signature: str
    text: str
    check: Check
    lower: Lowering
    constant: Constant | None = None
    kinds: frozenset[str] = frozenset()
    not_kinds: frozenset[str] = frozenset()
    unsafe: bool = False
    aggregate: Callable[[Checker, tree.Node, Any], Aggregate] | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.signature.partition("(")[0]

    @cached_property
    def _parameters(self) -> list[str]:
        inside = self.signature.partition("(")[2].rstrip(")")
        return [part.strip() for part in _PARAMETER.findall(inside)]

    @cached_property
    def least(self) -> int:
        """How many arguments it needs."""
        return sum(1 for part in self._parameters if not part.startswith(("[", "...")))

    @cached_property
    def most(self) -> int | None:
        """How many arguments it takes; None: any number."""
        return None if "..." in self._parameters else len(self._parameters)

    def takes(self, given: int) -> bool:
        """Whether it can be called with so many arguments."""
        return given >= self.least and (self.most is None or given <= self.most)

    def count(self, check: Checker, node: tree.Node, arguments: Arguments) -> None:
        """:raises CompileError: it is called with too few or too many arguments, or where it may not stand."""
        given = len(arguments)
        if not self.takes(given):
            takes = "no arguments" if self.most == 0 else f"arguments as in {self.signature}"
            check.fail(node, f"{self.name} takes {takes}; {given} {'is' if given == 1 else 'are'} given")
        kind = check.place.kind
        if (self.kinds and kind not in self.kinds) or kind in self.not_kinds:
            where = f"; it is for {', '.join(sorted(self.kinds))} probes" if self.kinds else ""
            check.fail(node, f"{self.name} cannot be used in {kind} probes{where}")
        if self.unsafe and not check.facts.unsafe:
            check.fail(node, f"{self.name}() changes what is traced; --unsafe allows it")

    def checked(self, check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        """The type of a call. :raises CompileError: it makes no sense."""
        self.count(check, node, arguments)
        if self.aggregate is not None:
            check.fail(node, f"{self.name}() is assigned to a map, as in @x = {self.signature}")
        return self.check(check, node, arguments)


def nothing(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    """The check of a function that takes nothing and gives nothing."""
    return NONE
