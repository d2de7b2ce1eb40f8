"""``pybpf bt --info``: what this kernel can do, as bpftrace reports it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pybpf import __version__

__all__ = ["info_lines"]

#: section -> what bpftrace calls it -> a name of :mod:`pybpf.sys.features`
_FEATURES: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "Kernel helpers": {"get_tai_ns": "helper_ktime_get_tai_ns", "get_func_ip": "helper_get_func_ip",
                       "loop": "helper_loop", "for_each_map_elem": "helper_for_each_map_elem"},
    "Kernel features": {"btf": "btf_vmlinux", "map batch": "batch", "ring buffer": "ringbuf",
                        "bounded loops": "bounded_loop", "iterators of numbers": "iter_num", "cookies": "cookies"},
    "Probe types": {
        "kprobe": "kprobe", "tracepoint": "tracepoint", "rawtracepoint": "tp_btf", "uprobe": "uprobe",
        "perf_event": "perf_event", "fentry": "fentry", "kprobe_multi": "kprobe_multi", "uprobe_multi": "uprobe_multi",
        "kprobe_session": "kprobe_session", "iter": "iter", "hardware": "perf_hardware",
    },
})  # fmt: skip


def info_lines() -> Iterator[str]:
    """The report, line by line."""
    from pybpf.sys import features

    system = os.uname()
    yield "System"
    yield f"  OS: {system.sysname} {system.release} {system.version}"
    yield f"  Arch: {system.machine}"
    yield ""
    yield "Build"
    yield f"  version: pybpf {__version__}"
    yield "  LLVM: none"
    for section, rows in _FEATURES.items():
        yield ""
        yield section
        for name, feature in rows.items():
            yield f"  {name}: {_ANSWERS[features.probe(feature).support.name]}"


_ANSWERS: Mapping[str, str] = MappingProxyType({"YES": "yes", "NO": "no", "NOT_ALLOWED": "not allowed"})
