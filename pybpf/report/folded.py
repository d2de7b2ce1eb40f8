"""Folded stacks: a line for each, ``process;outermost;...;innermost 42``, which many programs read."""

from __future__ import annotations

from collections.abc import Iterator

from pybpf.report.stacks import Frame, StackCounts
from pybpf.report.text import printable

__all__ = ["folded"]


def folded(stacks: StackCounts, delimiter: str = "", annotate: bool = False) -> Iterator[str]:
    """The lines, the smallest value first. They are safe to print, and a semicolon in a name becomes a colon.

    :param delimiter: what stands between frames of the process and those of the kernel; ``""``: nothing.
    :param annotate: mark functions of the kernel by ``_[k]`` behind their names.
    """
    for frames, value in stacks.items():
        yield f"{';'.join(_words(frames, delimiter, annotate))} {value}"


def _words(frames: tuple[Frame, ...], delimiter: str, annotate: bool) -> Iterator[str]:
    before = ""
    for name, kind, _ in frames:
        if delimiter and before == "user" and kind == "kernel":
            yield delimiter
        yield printable(name).replace(";", ":") + ("_[k]" if annotate and kind == "kernel" else "")
        before = kind
