"""A function of the source while it is compiled, as one call of it: its names, where it returns to, who called it."""

from __future__ import annotations

import ast
from math import prod
from typing import TYPE_CHECKING, Any

from pybpf.lang.values.ints import join
from pybpf.record import dataclass, field
from pybpf.types import u64

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pybpf.asm import SourceLine
    from pybpf.compiler.ir import Block
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.front.source import Source
    from pybpf.lang.front.variables import Env
    from pybpf.lang.values.joins import Form
    from pybpf.lang.values.memory import Ref
    from pybpf.lang.values.val import Val

__all__ = ["WALKED", "WRITTEN_OUT", "Facts", "Frame", "Loop"]


#: What a loop was compiled as, and is too much for.
WRITTEN_OUT, WALKED = 1, 2


class Facts:
    """What a pass over a probe assumes about its variables, and what it found: they agree at last.

    :ivar assumed: (call, variable) -> the type that holds all that is assigned to it.
    :ivar found: the same, as found so far.
    :ivar clashes: (call, variable) -> the frame and the node at which an assignment had no place in a type.
    :ivar outlined: the functions that are compiled once, as functions of eBPF; found by the pass before.
    :ivar copies: function -> how often it was compiled in the place of a call.
    :ivar calls: the same of those that are large, or are large together.
    :ivar inline_only: the functions that take or give something other than integers, or that cannot be compiled once.
    :ivar nothing: function -> whether what it gives is always None.
    :ivar unsteady: (call, loop, variable) of variables that an iteration binds to something else, and no form holds.
    :ivar forms: (call, loop, variable) -> the form that holds what an iteration binds it to, and what it was before.
    :ivar heavy: (call, loop) of loops that are too much for what was tried: :data:`WRITTEN_OUT`, or :data:`WALKED` too.
    :ivar stale: where memory is written anew -> (call, variable) of those that stand for what it was before.
    """

    def __init__(self, before: Facts | None = None) -> None:
        self.assumed: dict[Hashable, Any] = before.found if before else {}
        self.found: dict[Hashable, Any] = {}
        self.clashes: dict[Hashable, tuple[Frame, ast.AST, str]] = {}
        self.unsteady: dict[Hashable, str] = dict(before.unsteady) if before else {}
        self.was_unsteady = frozenset(self.unsteady)
        self.forms: dict[tuple[Hashable, ast.AST, str], Form] = dict(before.forms) if before else {}
        self._had_forms = dict(self.forms)
        self.heavy: dict[Hashable, int] = dict(before.heavy) if before else {}
        self._was_heavy = dict(self.heavy)
        self.stale: dict[Hashable, set[Hashable]] = {
            site: set(names) for site, names in (before.stale.items() if before else ())
        }
        self._was_stale = {site: frozenset(names) for site, names in self.stale.items()}
        self.outlined: frozenset[Any] = before.worth_outlining if before else frozenset()
        self.copies: dict[Any, int] = {}
        self.calls: dict[Any, int] = {}
        self.inline_only: set[Any] = set(before.inline_only) if before else set()
        self.nothing: dict[Any, bool] = dict(before.nothing) if before else {}

    def stale_at(self, site: Hashable) -> frozenset[Hashable]:
        """The names that stand for what a place was before, as the pass before found."""
        return self._was_stale.get(site, frozenset())

    def forms_at(self, key: Hashable, loop: ast.AST) -> dict[str, Form]:
        """The forms of the variables of a loop, as the pass before found them."""
        return {name: form for (call, node, name), form in self._had_forms.items() if (call, node) == (key, loop)}

    @property
    def worth_outlining(self) -> frozenset[Any]:
        """The functions to compile once in the next pass."""
        often = {function for function, count in self.calls.items() if count > 1}
        return (self.outlined | often) - self.inline_only

    @property
    def agree(self) -> bool:
        """Whether what was assumed is what was found."""
        steady = self.unsteady.keys() == self.was_unsteady and self.forms == self._had_forms
        stale = self.stale == self._was_stale
        steady = steady and self.heavy == self._was_heavy
        return self.found == self.assumed and steady and stale and self.worth_outlining == self.outlined


@dataclass(eq=False)
class Loop:
    """A loop that is being compiled, or a ``with``: where ``break`` and ``continue`` go.

    :ivar abandon: what else must be done where ``return`` leaves it.
    :ivar times: how often the verifier walks through it.
    """

    leave: Block
    again: Block
    abandon: Callable[[], None] | None = None
    times: int = 1


def _nowhere(gen: Gen, value: Val, at: ast.AST) -> None:
    gen.fail(at, "'return' outside of a function")


@dataclass(eq=False)
class Frame:
    """One call of a function of the source.

    :ivar number: tells its variables from those of other calls.
    :ivar key: the calls that lead here, the same in every pass.
    :ivar locals: the names that are variables of the function.
    :ivar annotated: variable -> its type, where the source says so: that of an integer.
    :ivar declared: the same of variables that have memory of their own.
    :ivar own: variable -> that memory.
    :ivar env: the variables here.
    :ivar returns: compiles ``return``.
    :ivar whole: whether it is a function of the unit by itself, not a part of its caller.
    :ivar reserved: the streams of the ``with`` statements here.
    """

    source: Source
    number: int
    key: Hashable
    facts: Facts
    locals: frozenset[str]
    caller: Frame | None = None
    call: ast.AST | None = None
    annotated: dict[str, Any] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Ref] = field(default_factory=dict)
    env: Env = field(default_factory=dict)
    returns: Callable[[Gen, Val, ast.AST], None] = _nowhere
    loops: list[Loop] = field(default_factory=list)
    reserved: list[Any] = field(default_factory=list)
    whole: bool = False
    _reads: dict[str, list[tuple[int, int]]] | None = None

    def where(self, node: ast.AST) -> SourceLine:
        """Where a node stands."""
        return self.source.where(node)

    def is_item(self, name: str) -> bool:
        """Whether the function assigns an item, as of a map, to a variable: ``name = m[k]``."""
        return any(
            isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
            and any(isinstance(each, ast.Name) and each.id == name for each in node.targets)
            for node in ast.walk(self.source.node)
        )  # fmt: skip

    def reads_later(self, name: str, at: ast.AST) -> bool:
        """Whether a variable may be read behind a node; what is no variable of the source is."""
        if name not in self.locals:
            return True
        if self._reads is None:
            found: dict[str, list[tuple[int, int]]] = {}
            self._reads = found
            for each in ast.walk(self.source.node):
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
                    found.setdefault(each.id, []).append((each.lineno, each.col_offset))
        places = self._reads.get(name, ())
        end = getattr(at, "end_lineno", None) or 0, getattr(at, "end_col_offset", None) or 0
        return any(self.loops or place >= end for place in places)

    def has_reserved(self, events: object) -> bool:
        """Whether an event of a stream is submitted by a ``with`` around this place, or around the call."""
        frame: Frame | None = self
        while frame is not None:
            if events in frame.reserved:
                return True
            frame = frame.caller
        return False

    def abandon(self) -> None:
        """Compile what must be done where the function of the unit is left from here."""
        frame: Frame | None = self
        while frame is not None:
            frame.leave_loops()
            frame = None if frame.whole else frame.caller

    @property
    def owes(self) -> bool:
        """Whether something must be done where the function of the unit is left from here: an event, an iterator."""
        frame: Frame | None = self
        while frame is not None:
            if any(loop.abandon is not None for loop in frame.loops):
                return True
            frame = None if frame.whole else frame.caller
        return False

    def leave_loops(self) -> None:
        """Compile what must be done where this call is left from here."""
        for loop in reversed(self.loops):
            if loop.abandon is not None:
                loop.abandon()

    def times(self) -> int:
        """How often the verifier walks through what is compiled here."""
        inner = prod(loop.times for loop in self.loops)
        return inner * (self.caller.times() if self.caller else 1)

    def chain(self) -> str:
        """``"called from FILE:LINE"``, outwards."""
        calls, frame = [], self
        while frame.caller is not None and frame.call is not None:
            calls.append(f"{frame.caller.source.file}:{getattr(frame.call, 'lineno', 0)}")
            frame = frame.caller
        return "called from " + ", from ".join(calls)

    def note_kind(self, name: str, kind: Any, at: ast.AST) -> None:
        """A value of this type is assigned to a variable."""
        key = (self.key, name)
        before = self.facts.found.get(key)
        both = kind if before is None else join(before, kind)
        if both is None:
            self.facts.clashes.setdefault(key, (self, at, name))
            both = u64
        self.facts.found[key] = both

    def kind(self, name: str) -> Any:
        """The type of an integer variable."""
        key = (self.key, name)
        return self.annotated.get(name) or self.facts.assumed.get(key) or self.facts.found[key]
