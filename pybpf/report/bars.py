"""Rows of a histogram as text, to the letter as bpftrace and as BCC print them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = ["bcc_linear", "bcc_log2", "bpftrace_rows"]

_SINGLE = struct.Struct("f")


def _single(value: float) -> float:
    """``value`` rounded to a C ``float``."""
    number: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    return number


def bpftrace_rows(rows: Sequence[tuple[str, int]], width: int = 52) -> str:
    """``[2, 4)          3 |@@@@   |`` for every (label, count); the bar of the largest count is ``width`` long.

    bpftrace computes a bar's length in C floats: rounding in doubles would give some bars one character more.
    """
    most = _single(max((count for _, count in rows), default=0))
    lines = []
    for label, count in rows:
        bar = "@" * int(_single(_single(_single(count) / most) * width)) if count else ""
        lines.append(f"{label:<16}{count:>8} |{bar:<{width}}|")
    return "\n".join(lines)


def _stars(count: int, most: int, width: int) -> str:
    """BCC adds a star while ``i <= width * count / most - 1``: a bar is rounded down."""
    return "*" * (width * count // most) if most else ""


def bcc_log2(rows: Sequence[tuple[str, str, int]], unit: str, wide: bool, width: int | None = None) -> str:
    """BCC's ``print_log2_hist``: (first value, last value, count) under a header that names the ``unit``.

    :param wide: the form for values of 2**32 and above: wider columns, bars half as long.
    """
    width = width or (20 if wide else 40)
    column = 20 if wide else 10
    most = max((count for _, _, count in rows), default=0)
    lines = [f"{'':15}{unit:<29} : count     distribution" if wide else f"{'':5}{unit:<19} : count     distribution"]
    for first, last, count in rows:
        lines.append(f"{first:>{column}} -> {last:<{column}} : {count:<8} |{_stars(count, most, width):<{width}}|")
    return "\n".join(lines) if rows else ""


def bcc_linear(rows: Sequence[tuple[str, int]], unit: str, width: int = 40) -> str:
    """BCC's ``print_linear_hist``: (value, count) under a header that names the ``unit``."""
    most = max((count for _, count in rows), default=0)
    lines = [f"{'':5}{unit:<13} : count     distribution"]
    for value, count in rows:
        lines.append(f"{'':8}{value:<10} : {count:<8} |{_stars(count, most, width):<{width}}|")
    return "\n".join(lines) if rows else ""
