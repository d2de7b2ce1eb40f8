"""``Glob``: a shell pattern that is tried in the kernel, as far as that can be, and again in Python."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from pybpf.lazy import regex

__all__ = ["Glob"]

_WILD = regex(r"\[[^]]*\]|[*?]")


class Glob:
    """A pattern of ``*``, ``?`` and ``[abc]``, of a whole text; None lets everything pass.

    :ivar may: for probes: ``if not glob.may(event.path): return``. It compares what is before the first wildcard,
        behind the last one, and the longest part between: most of what does not match never leaves the kernel.
    """

    def __init__(self, pattern: str | None) -> None:
        self.pattern = pattern
        parts = [""] if pattern is None else _WILD.split(pattern)
        whole = pattern is not None and len(parts) == 1
        first, last = parts[0], parts[-1] if len(parts) > 1 else ""
        middle = max(parts[1:-1], key=len, default="")

        def may(text: Any) -> bool:
            if whole:
                return bool(text == first)
            if first and not text.startswith(first):
                return False
            if middle and middle not in text:
                return False
            return not last or bool(text.endswith(last))

        self.may: Callable[[Any], bool] = may

    def matches(self, text: str) -> bool:
        """Whether a text matches, all of it."""
        return self.pattern is None or fnmatchcase(text, self.pattern)
