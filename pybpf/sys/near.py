"""Names that a misspelt one may stand for."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "near"]

#: Comparing takes some 20 microseconds each, and the kernel has 100,000 functions: only names of about the same length
#: that start or end alike, and names that contain the wanted one, are compared; of few names all if there is none.
_FEW = 200
_ENDS = 3
_LENGTH = 3
_MOST = 2000


def near(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names of ``known`` that are most like ``name``, best first."""
    first, last = name[:_ENDS], name[-_ENDS:]
    every = list(known)
    alike = [
        each
        for each in every
        if (abs(len(each) - len(name)) <= _LENGTH and (each.startswith(first) or each.endswith(last)))
        or (name and name in each)
    ]
    if not alike and len(every) <= _FEW:
        alike = every
    from difflib import get_close_matches  # only here: most runs misspell nothing

    alike.sort(key=lambda each: abs(len(each) - len(name)))
    return get_close_matches(name, alike[:_MOST], most, 0.6)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean a, b or c?"``, or ``""`` where nothing is like ``name``: the end of a message."""
    found = near(name, known)
    if not found:
        return ""
    *others, last = found
    return f"; did you mean {', '.join(others)} or {last}?" if others else f"; did you mean {last}?"
