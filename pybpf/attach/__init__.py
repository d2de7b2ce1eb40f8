"""Attaching programs: one file per kind of probe, each giving a link that detaches when it is closed."""

from __future__ import annotations

from pybpf.attach.events import PerfEvent, find_event
from pybpf.attach.fentry import fentry, fexit, fmod_ret
from pybpf.attach.interval import interval
from pybpf.attach.iterator import IteratorLink, iterator
from pybpf.attach.kprobe import kprobe, kretprobe
from pybpf.attach.kprobes import kprobes
from pybpf.attach.link import Link, MultiLink
from pybpf.attach.perf_event import perf_event
from pybpf.attach.rawtp import btf_tracepoint, raw_tracepoint
from pybpf.attach.tracepoint import tracepoint, tracepoint_fields
from pybpf.attach.uprobe import uprobe, uretprobe
from pybpf.attach.uprobe_multi import uprobes
from pybpf.attach.usdt import usdt

__all__ = [
    "IteratorLink",
    "Link",
    "MultiLink",
    "PerfEvent",
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
    "perf_event",
    "raw_tracepoint",
    "tracepoint",
    "tracepoint_fields",
    "uprobe",
    "uprobes",
    "uretprobe",
    "usdt",
]
