"""Columns of text, each as wide as its widest cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["table"]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lines under a header; numbers are aligned to the right, the last column is not padded."""
    lines = [list(row) for row in rows]
    widths = [max(len(str(line[i])) for line in [header, *lines]) for i in range(len(header))]
    numeric = [bool(lines) and all(isinstance(line[i], int) for line in lines) for i in range(len(header))]
    out = []
    for line in [header, *lines]:
        cells = [str(c).rjust(w) if right else str(c).ljust(w) for c, w, right in zip(line, widths, numeric)]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)
