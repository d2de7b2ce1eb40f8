"""Which probes no other one interrupts on their CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybpf.compiler.target import Target

__all__ = ["runs_alone"]

#: Probes that no other probe of their kind interrupts on its CPU, because the kernel does not preempt them and lets
#: one at a time run there (``bpf_prog_active``).
_UNDISTURBED = frozenset({"tracepoint", "kprobe", "kretprobe", "perf_event", "profile", "interval"})
#: Such were these too, until Linux 6.0 made programs possible there that may sleep, and let tasks preempt all of them.
_OF_PROCESSES = frozenset({"uprobe", "uretprobe", "usdt"})


def runs_alone(kind: str, target: Target) -> bool:
    """Whether no other probe of a kind begins on a CPU where one runs."""
    return kind in _UNDISTURBED or (kind in _OF_PROCESSES and not target.has("sleepable_uprobe"))
