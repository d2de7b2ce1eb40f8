"""Whether what a script was compiled to is what it would be compiled to a moment later, on the same kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.syntax.attachpoints import has_wildcard

if TYPE_CHECKING:
    from pybpf.bt.check.script import CheckedScript
    from pybpf.bt.syntax import tree

__all__ = ["depends_on"]

#: probes of which the kernel's types and formats of records say everything
_OF_KERNEL = frozenset({
    "begin", "end", "interval", "profile", "software", "hardware", "rawtracepoint", "kprobe", "kretprobe", "fentry",
    "fexit",
})  # fmt: skip
#: those that are in a file, which is looked at again when they are attached
_OF_FILE = frozenset({"uprobe", "uretprobe"})


def depends_on(script: tree.Script, checked: CheckedScript) -> list[tuple[str, str]] | None:
    """What the result depends on beside the kernel: kinds and names; None: it may depend on anything.

    That is so of patterns, and of what a script imports or includes.
    """
    if script.imports or any("include" in each.text for each in script.c_text):
        return None
    written = [point for probe in script.probes for point in probe.points]
    if any(has_wildcard(point.text) for point in written):
        return None
    found = [
        ("binary", each.target)
        for point in written
        for each in point.points or ()
        if each.kind in _OF_FILE and not each.target.startswith("/")
    ]
    for probe in checked.probes:
        kind, point = probe.place.kind, probe.place.point
        if kind in _OF_FILE and point is not None and point.target.startswith("/"):
            found.append(("file", point.target))
        elif kind == "tracepoint":
            found.append((kind, f"{point.target}:{point.function}"))
        elif kind not in _OF_KERNEL:
            return None
    return list(dict.fromkeys(found))
