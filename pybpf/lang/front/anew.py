"""Memory that a loop writes anew in each turn: names of what was there before stand for something else from then on.

``p = Point(...)`` in a loop that is not written out is one place, whichever turn it is. A name that still stands for
the Point of an earlier turn cannot be read behind it. Which names may is known when the loop is complete: the next
pass over the probe is told.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pybpf.compiler.ir import Instr, Operand
from pybpf.lang.front.variables import Unset
from pybpf.lang.values.memory import Ref, called, references
from pybpf.lang.values.tuples import Tuple
from pybpf.lang.values.val import Val

if TYPE_CHECKING:
    from typing import Any

    from pybpf.lang.front.frame import Frame
    from pybpf.lang.front.gen import Gen

__all__ = ["Anew"]


class _Seen(NamedTuple):
    """A name that stood for some place where memory was written anew."""

    site: Hashable
    slot: Instr
    name: tuple[Hashable, str]
    addresses: list[Operand]


class Anew:
    """The places of a pass over a probe that loops write anew."""

    def __init__(self, gen: Gen) -> None:
        self._gen = gen
        self._seen: list[_Seen] = []
        self._sites: dict[Hashable, int] = {}

    def note(self, slot: Instr, kind: Any, at: ast.AST) -> None:
        """Memory of the function is written here, in a loop: names of what an earlier turn put there are lost."""
        gen = self._gen
        where = gen.frame.key, at, gen.b.line
        number = self._sites[where] = self._sites.get(where, 0) + 1
        site = (*where, number)
        lost = gen.facts.stale_at(site)
        for frame in _frames(gen.frame):
            for name, binding in frame.env.items():
                if isinstance(binding, Unset):
                    continue
                if (frame.key, name) in lost:
                    line = gen.b.line.line if gen.b.line else 0
                    why = (f"stands for {called(kind)} that line {line} makes anew in each turn of the loop: copy it "
                           f"before, as in '{name}: {getattr(kind, '__name__', 'T')} = ...'")  # fmt: skip
                    frame.env = {**frame.env, name: Unset(why)}
                    continue
                held = list(_references(gen.held(name, binding, frame)))
                if held:
                    seen = _Seen(site, slot, (frame.key, name), [each.address for each in held])
                    self._seen.append(seen)

    def settle(self) -> None:
        """When the function is complete: note the names that may have stood for the same place."""
        resolve = self._gen.b.resolve
        for seen in self._seen:
            if any(seen.slot in _origins(address, resolve) for address in seen.addresses):
                self._gen.facts.stale.setdefault(seen.site, set()).add(seen.name)
        self._seen.clear()


def _references(val: Val) -> Iterator[Ref]:
    if isinstance(val, Tuple):
        for each in val.values:
            yield from _references(each)
    else:
        yield from references(val)


def _frames(frame: Frame | None) -> Iterator[Frame]:
    while frame is not None:
        yield frame
        frame = frame.caller


def _origins(address: Operand, resolve: Any) -> set[Instr]:
    """What a pointer may have been made of."""
    found: set[Instr] = set()
    waiting = [address]
    while waiting:
        value = resolve(waiting.pop())
        if not isinstance(value, Instr) or value in found:
            continue
        found.add(value)
        if value.op in ("phi", "add", "sub"):
            waiting += value.args
    return found
