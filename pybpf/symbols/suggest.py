"""Names that a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]

_MOST = 3
#: names of which the similarity is computed; it takes some 20 microseconds each
_MOST_COMPARED = 5000


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``"; did you mean readline or readlink?"``, or ``""`` when none of ``names`` is close to ``name``.

    Cheap for large tables: only names of about the same length that begin or end alike are compared.
    """
    if not name:
        return ""
    close = [
        other
        for other in filter(None, names)
        if abs(len(other) - len(name)) <= 3 and (other[0] == name[0] or other[-2:] == name[-2:])
    ]
    found = difflib.get_close_matches(name, close[:_MOST_COMPARED], n=_MOST, cutoff=0.7)
    return f"; did you mean {' or '.join(found)}?" if found else ""
