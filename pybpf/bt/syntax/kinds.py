"""Every kind of probe: its names, how it is written, and what may stand in it."""

from __future__ import annotations

from pybpf.record import NamedTuple

__all__ = ["ALIASES", "HARDWARE", "KINDS", "SOFTWARE", "Kind"]


class Kind(NamedTuple):
    """One kind of probe."""

    name: str
    aliases: tuple[str, ...]  #: other names, lower case
    forms: tuple[str, ...]  #: how it is written, for people
    path: bool = False  #: a ``/`` can stand in it
    listed: str = ""  #: which list it is part of when the kind has wildcards: "kernel", "user" or neither


_TIMED = ("{}:s:1", "{}:ms:100", "{}:hz:99", "{}:100ms")


def _timed(name: str) -> tuple[str, ...]:
    return tuple(form.format(name) for form in _TIMED)


_KINDS = (
    Kind("begin", (), ("begin",)),
    Kind("end", (), ("end",)),
    Kind("self", (), ("self:signal:SIGUSR1",)),
    Kind("test", (), ("test:name",)),
    Kind("bench", (), ("bench:name",)),
    Kind("interval", ("i",), _timed("interval")),
    Kind("profile", ("p",), _timed("profile")),
    Kind("tracepoint", ("t",), ("tracepoint:category:event",), listed="kernel"),
    Kind("rawtracepoint", ("rt",), ("rawtracepoint:event", "rawtracepoint:module:event"), listed="kernel"),
    Kind("kprobe", ("k",), ("kprobe:function", "kprobe:function+offset", "kprobe:module:function", "kprobe:address"),
         listed="kernel"),
    Kind("kretprobe", ("kr",), ("kretprobe:function", "kretprobe:module:function")),
    Kind("fentry", ("f", "kfunc"), ("fentry:function", "fentry:module:function", "fentry:bpf:id:program"),
         listed="kernel"),
    Kind("fexit", ("fr", "kretfunc"), ("fexit:function", "fexit:module:function", "fexit:bpf:id:program")),
    Kind("uprobe", ("u",), ("uprobe:file:function", "uprobe:file:function+offset", "uprobe:file:address",
                            "uprobe:file:cpp:function", "uprobe:file@source:line"), path=True, listed="user"),
    Kind("uretprobe", ("ur",), ("uretprobe:file:function", "uretprobe:file:cpp:function"), path=True),
    Kind("usdt", (), ("usdt:file:probe", "usdt:file:provider:probe"), path=True, listed="user"),
    Kind("software", ("s",), ("software:event", "software:event:count"), listed="kernel"),
    Kind("hardware", ("h",), ("hardware:event", "hardware:event:count"), listed="kernel"),
    Kind("watchpoint", ("w",), ("watchpoint:address:length:mode", "watchpoint:function+arg0:length:mode")),
    Kind("iter", ("it",), ("iter:name", "iter:name:pin"), path=True, listed="kernel"),
)  # fmt: skip

#: canonical name -> kind
KINDS = {kind.name: kind for kind in _KINDS}
#: any name -> kind. Names of one letter mean different kinds in either case: ``u`` and ``U``.
ALIASES = {**KINDS, "U": KINDS["usdt"], **{alias: kind for kind in _KINDS for alias in kind.aliases}}

#: event -> its short name, or ""
SOFTWARE = {
    "alignment-faults": "",
    "bpf-output": "",
    "context-switches": "cs",
    "cpu-clock": "cpu",
    "cpu-migrations": "",
    "dummy": "",
    "emulation-faults": "",
    "major-faults": "",
    "minor-faults": "",
    "page-faults": "faults",
    "task-clock": "",
}
HARDWARE = {
    "backend-stalls": "",
    "branch-instructions": "branches",
    "branch-misses": "",
    "bus-cycles": "",
    "cache-misses": "",
    "cache-references": "",
    "cpu-cycles": "cycles",
    "frontend-stalls": "",
    "instructions": "",
    "ref-cycles": "",
}
