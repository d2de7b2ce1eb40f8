"""Names that stand for places in memory, where what is there goes or is replaced.

``p = Point(...)`` in a loop that is not written out is one place, whichever turn it is: a name that still stands for
the Point of an earlier turn cannot be read behind it. Which names may is known when the loop is complete: the next pass
over the probe is told. And the entry of a hash table goes where it is deleted or replaced: a name that stands for it
then gets a copy, as in Python it keeps the object.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Hashable, Iterator
from typing import TYPE_CHECKING

from pybpf.compiler.ir import Instr, Operand
from pybpf.lang.front.variables import Unset
from pybpf.lang.values.memory import Maybe, Ref, called, name_of, references
from pybpf.lang.values.tuples import Tuple
from pybpf.lang.values.val import Val
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from typing import Any

    from pybpf.lang.front.frame import Frame
    from pybpf.lang.front.gen import Gen

__all__ = ["Aliases"]


class _Seen(NamedTuple):
    """A name that stood for some place where memory was written anew."""

    site: Hashable
    slot: Operand
    name: tuple[Hashable, str]
    addresses: list[Operand]


class Aliases:
    """The names of a pass over a probe that stand for places, in the function that is compiled and its callers."""

    def __init__(self, gen: Gen) -> None:
        self._gen = gen
        self._seen: list[_Seen] = []
        self._sites: dict[Hashable, int] = {}

    def _bound(self) -> Iterator[tuple[Frame, str, Val, list[Ref]]]:
        """The names that stand for places, what they are bound to, and the places."""
        frame: Frame | None = self._gen.frame
        while frame is not None:
            for name, binding in list(frame.env.items()):
                if isinstance(binding, Unset) or binding.val.known is False:
                    continue
                val = self._gen.held(name, binding, frame)
                places = list(_places(val))
                if places:
                    yield frame, name, val, places
            frame = frame.caller

    def _lose(self, frame: Frame, name: str, kind: Any, why: str) -> None:
        advice = f"copy it before, as in '{name}: {name_of(kind)} = ...'"
        frame.env = {**frame.env, name: Unset(f"{why}: {advice}")}

    # memory that is written anew

    def anew(self, slot: Operand, kind: Any, at: ast.AST, but: Collection[tuple[Frame, str]] = ()) -> None:
        """Memory of the function is written, in a loop: names of what an earlier turn put there are lost.

        :param but: names that stand for it from now on.
        """
        gen = self._gen
        where = gen.frame.key, at, gen.b.line
        number = self._sites[where] = self._sites.get(where, 0) + 1
        site = (*where, number)
        lost = gen.facts.stale_at(site)
        for frame, name, _, places in self._bound():
            if (frame, name) in but:
                continue
            if (frame.key, name) in lost:
                line = gen.b.line.line if gen.b.line else 0
                why = f"stands for {called(kind)} that line {line} makes anew in each turn of the loop"
                self._lose(frame, name, kind, why)
            else:
                self._seen.append(_Seen(site, slot, (frame.key, name), [each.address for each in places]))

    def settle(self) -> None:
        """When the function is complete: note the names that may have stood for the same place."""
        resolve = self._gen.b.resolve
        for seen in self._seen:
            if any(seen.slot in _origins(address, resolve) for address in seen.addresses):
                self._gen.facts.stale.setdefault(seen.site, set()).add(seen.name)
        self._seen.clear()

    # entries of hash tables

    def entries(self, table: str, at: ast.AST) -> dict[Operand, list[tuple[Frame, str]]]:
        """The entries of a table that names stand for which are read later: address -> the names.

        Those that stand for some part of an entry, of which it is not known where the entry begins, are lost.
        """
        found: dict[Operand, list[tuple[Frame, str]]] = {}
        for frame, name, _, places in self._bound():
            inside = [each for each in places if each.entry and table in each.entry.tables]
            if not inside or not frame.reads_later(name, self._here(frame, at)):
                continue
            if not all(each.entry and each.entry.whole for each in inside):
                why = f"stands for a part of an entry of {table!r} that line {getattr(at, 'lineno', 0)} may take away"
                self._lose(frame, name, inside[0].kind, why)
                continue
            for each in inside:
                found.setdefault(self._gen.b.resolve(each.address), []).append((frame, name))
        return found

    def _here(self, frame: Frame, at: ast.AST) -> ast.AST:
        """The node in a function at which a node of one that it has called is compiled."""
        inner = self._gen.frame
        here = self._gen.given(at)
        while inner is not frame:
            assert inner.call is not None and inner.caller is not None
            here, inner = inner.call, inner.caller
        return here

    def move(self, names: Collection[tuple[Frame, str]], old: Operand, new: Operand) -> None:
        """Let names stand for the same place at another address."""
        gen = self._gen
        for frame, name, val, _ in self._bound():
            if (frame, name) in names:
                gen.keep(name, _moved(val, lambda each: gen.b.resolve(each) is old, new), ast.Pass(), frame)


def _places(val: Val) -> Iterator[Ref]:
    if isinstance(val, Tuple):
        for each in val.values:
            yield from _places(each)
    else:
        yield from references(val)


def _moved(val: Val, is_old: Any, new: Operand) -> Val:
    """The value with another address in the place of one."""
    if isinstance(val, Tuple):
        return Tuple([_moved(each, is_old, new) for each in val.values])
    if isinstance(val, Maybe):
        return Maybe(val.there, _moved(val.value, is_old, new), val.source, val.known)
    if isinstance(val, Ref) and is_old(val.address):
        return val.with_ssa((new,))
    return val


def _origins(address: Operand, resolve: Any) -> set[Instr]:
    """What a pointer may have been made of."""
    found: set[Instr] = set()
    waiting = [address]
    while waiting:
        value = resolve(waiting.pop())
        if not isinstance(value, Instr) or value in found:
            continue
        found.add(value)
        if value.op in ("phi", "add", "sub", "element"):
            waiting += value.args
    return found
