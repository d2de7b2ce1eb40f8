"""Probes by time and by counters of perf: ``interval``, ``profile``, ``software``, ``hardware``."""

from __future__ import annotations

import errno

from pybpf.attach.kinds.interval import SHORTEST
from pybpf.bt.probes.arguments import Arguments
from pybpf.bt.probes.place import Environment, Place, Wants
from pybpf.bt.syntax.attachpoints import AttachPoint
from pybpf.errors import UnsupportedError
from pybpf.lang.tracer.attaching import Call
from pybpf.lang.values.reading import USER
from pybpf.sys.bpf import ProgType

__all__ = ["counter", "interval", "profile", "watchpoint"]

_NANOSECONDS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
#: how many events make a sample where the script does not say it: bpftrace's defaults
_PERIODS = {
    "alignment-faults": 1, "bpf-output": 1, "context-switches": 1000, "cpu-clock": 1_000_000, "cpu-migrations": 1,
    "dummy": 1, "emulation-faults": 1, "major-faults": 1, "minor-faults": 100, "page-faults": 100,
    "task-clock": 1, "backend-stalls": 1_000_000, "branch-instructions": 100_000, "branch-misses": 100_000,
    "bus-cycles": 100_000, "cache-misses": 1_000_000, "cache-references": 1_000_000, "cpu-cycles": 1_000_000,
    "frontend-stalls": 1_000_000, "instructions": 1_000_000, "ref-cycles": 1_000_000,
}  # fmt: skip


class _Sample(Arguments):
    """A moment of whatever runs."""

    space = USER
    registers = True


def _period(point: AttachPoint) -> int:
    """Nanoseconds between two runs."""
    if point.target == "hz":
        return max(1_000_000_000 // point.count, 1)
    return point.count * _NANOSECONDS[point.target]


def interval(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``interval:s:1``: on one CPU."""
    # the kernel's clock takes shorter periods for its shortest one, without a word
    how = Call("interval", (max(_period(point), SHORTEST),))
    return [Place(point.kind, point.text, ProgType.PERF_EVENT, _Sample(), how)]


def profile(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``profile:hz:99``: on every CPU; where one process is traced, while it runs."""
    frequency, period = (point.count, None) if point.target == "hz" else (None, _period(point))
    pid = environment.pid
    how = Call("perf_event", ("cpu-clock",), {"frequency": frequency, "period": period, "pid": pid})
    return [Place(point.kind, point.text, ProgType.PERF_EVENT, _Sample(), how)]


def counter(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``software:page-faults:100``, ``hardware:cache-misses:1000``"""
    period = point.count or _PERIODS.get(point.target, 1)
    how = Call("perf_event", (point.target,), {"period": period, "pid": environment.pid})
    return [Place(point.kind, point.text, ProgType.PERF_EVENT, _Sample(), how)]


def watchpoint(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``watchpoint:address:length:mode``: in the one process that is traced, or in the kernel."""
    if point.address is None:
        message = "what an argument points to cannot be watched, as in bpftrace since 0.25; write its address"
        raise UnsupportedError(f"attach to {point.text}", errno.EOPNOTSUPP, message)
    how = Call("watchpoint", (point.address, point.length, point.mode), {"pid": environment.pid})
    return [Place(point.kind, point.text, ProgType.PERF_EVENT, _Sample(), how, point=point)]
