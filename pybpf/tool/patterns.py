"""``Glob``: a shell pattern that is tried in the kernel, as far as that can be, and again in Python."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from pybpf.lazy import regex

__all__ = ["Glob"]

#: a ``]`` that comes first in a class is one of its characters
_WILD = regex(r"\[!?\]?[^]]*\]|[*?]")
#: characters of the begin of a long text that are compared in the kernel
_BEGIN = 60


class Glob:
    """A pattern of ``*``, ``?`` and ``[abc]``, of a whole text; None lets everything pass.

    :ivar may: for probes: ``if not glob.may(event.path): return``. It compares what is before the first wildcard,
        behind the last one, and the longest part between: most of what does not match never leaves the kernel.
    :ivar may_begin: the same for a text of which only the begin is known.
    """

    def __init__(self, pattern: str | None, size: int) -> None:
        """:param size: bytes of the type of texts in probes, with the NUL."""
        self.pattern = pattern
        parts = [""] if pattern is None else _WILD.split(pattern)
        whole = pattern is not None and len(parts) == 1
        first, last = parts[0], parts[-1] if len(parts) > 1 else ""
        middle = max(parts[1:-1], key=len, default="")

        longer = max(len(part.encode("utf-8", "surrogateescape")) for part in parts) >= size

        def may(text: Any) -> bool:
            if longer:
                return False
            if whole:
                return bool(text == first)
            if first and not text.startswith(first):
                return False
            if middle and middle not in text:
                return False
            return not last or bool(text.endswith(last))

        def may_begin(text: Any) -> bool:
            return not first or bool(text.startswith(first[:_BEGIN]))

        self.may: Callable[[Any], bool] = may
        self.may_begin: Callable[[Any], bool] = may_begin

    def matches(self, text: str) -> bool:
        """Whether a text matches, all of it."""
        return self.pattern is None or fnmatchcase(text, self.pattern)
