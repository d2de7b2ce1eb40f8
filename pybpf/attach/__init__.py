"""Attaching programs: one file per kind of probe, each giving a link that detaches when it is closed.

::

    with Program.load(spec, maps) as program, attach.tracepoint(program, "sched:sched_switch") as link:
        ...                                    # link.info(), link.missed, link.pin(path)

``docs/kernel-layer.md`` has whole programs; ``pybpf list probes`` shows what there is to attach to.
"""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.attach.events import PerfEvent, find_event
    from pybpf.attach.kinds.fentry import fentry, fexit, fmod_ret
    from pybpf.attach.kinds.interval import interval
    from pybpf.attach.kinds.iterator import IteratorLink, iterator
    from pybpf.attach.kinds.kprobe import kprobe, kretprobe
    from pybpf.attach.kinds.kprobes import kprobes
    from pybpf.attach.kinds.perf_event import perf_event
    from pybpf.attach.kinds.rawtp import btf_tracepoint, raw_tracepoint
    from pybpf.attach.kinds.tracepoint import tracepoint, tracepoint_fields
    from pybpf.attach.kinds.uprobe import uprobe, uretprobe
    from pybpf.attach.kinds.uprobe_multi import uprobes
    from pybpf.attach.kinds.usdt import usdt
    from pybpf.attach.kinds.watchpoint import watchpoint
    from pybpf.attach.link import Link, MultiLink
    from pybpf.attach.listing import Probe, list_probes

__all__ = [
    "IteratorLink",
    "Link",
    "MultiLink",
    "PerfEvent",
    "Probe",
    "btf_tracepoint",
    "fentry",
    "fexit",
    "find_event",
    "fmod_ret",
    "interval",
    "iterator",
    "kprobe",
    "kprobes",
    "kretprobe",
    "list_probes",
    "perf_event",
    "raw_tracepoint",
    "tracepoint",
    "tracepoint_fields",
    "uprobe",
    "uprobes",
    "uretprobe",
    "usdt",
    "watchpoint",
]

__getattr__ = lazy_names(
    __name__,
    {
        "events": "PerfEvent find_event",
        "kinds.fentry": "fentry fexit fmod_ret",
        "kinds.interval": "interval",
        "kinds.iterator": "IteratorLink iterator",
        "kinds.kprobe": "kprobe kretprobe",
        "kinds.kprobes": "kprobes",
        "kinds.perf_event": "perf_event",
        "kinds.rawtp": "btf_tracepoint raw_tracepoint",
        "kinds.tracepoint": "tracepoint tracepoint_fields",
        "kinds.uprobe": "uprobe uretprobe",
        "kinds.uprobe_multi": "uprobes",
        "kinds.usdt": "usdt",
        "kinds.watchpoint": "watchpoint",
        "link": "Link MultiLink",
        "listing": "Probe list_probes",
    },
)
