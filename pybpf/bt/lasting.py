"""Whether what a script was compiled to is what it would be compiled to a moment later, on the same kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.syntax.attachpoints import has_wildcard

if TYPE_CHECKING:
    from pybpf.bt.check.script import CheckedScript
    from pybpf.bt.syntax import tree

__all__ = ["kept_for"]

#: probes of which the kernel's types and formats of records say everything
_OF_KERNEL = frozenset({
    "begin", "end", "interval", "profile", "software", "hardware", "tracepoint", "rawtracepoint", "kprobe", "kretprobe",
    "fentry", "fexit",
})  # fmt: skip
#: those that are in a file, which is looked at again when they are attached
_OF_FILE = frozenset({"uprobe", "uretprobe"})


def kept_for(script: tree.Script, checked: CheckedScript) -> list[str] | None:
    """The files that the result depends on beside the kernel; None: it may depend on anything.

    That is so of patterns, and of what a script imports or includes.
    """
    if script.imports or any("include" in each.text for each in script.c_text):
        return None
    if any(has_wildcard(point.text) for probe in script.probes for point in probe.points):
        return None
    files = []
    for probe in checked.probes:
        place = probe.place
        if place.kind in _OF_FILE and place.point is not None and place.point.target.startswith("/"):
            files.append(place.point.target)
        elif place.kind not in _OF_KERNEL:
            return None
    return list(dict.fromkeys(files))
