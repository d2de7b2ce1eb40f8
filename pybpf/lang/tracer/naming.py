"""Names for maps: those of the variables that probes know them by, so that other tools show them too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pybpf.lazy import regex

__all__ = ["name_all"]

#: the maps that every tracer has
_OWN = ("tracer_counts", "tracer_prints", "tracer_stacks")
_NO_LETTER = regex(r"[^A-Za-z0-9_]", re.ASCII)


def name_all(parts: Sequence[Any], functions: Sequence[Callable[..., Any]]) -> None:
    """Give a name to each part that has none, and tell apart those that have the same."""
    known: dict[int, str] = {}
    for function in functions:
        for name, value in _visible(function):
            known.setdefault(id(value), name)
    taken = set(_OWN)
    for part in parts:
        base = part.name or _NO_LETTER.sub("_", known.get(id(part), type(part).__name__.lower()))
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        if part.name != name:
            part.name = name


def _visible(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The variables outside of a function that it can see."""
    plain: Any = function
    while hasattr(plain, "__wrapped__"):
        plain = plain.__wrapped__
    plain = getattr(plain, "__func__", plain)
    code = getattr(plain, "__code__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), getattr(plain, "__closure__", None) or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from getattr(plain, "__globals__", {}).items()
