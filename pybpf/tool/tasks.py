"""States of tasks, in probes of the scheduler."""

from __future__ import annotations

from typing import Any

from pybpf.lang import has_field

__all__ = ["RECORD_STATES", "task_state"]

#: what the state in a record of sched_switch has of those of the kernel: other bits say that the thread could run on
RECORD_STATES = 0xFF


def task_state(task: Any) -> Any:
    """In a probe: what a ``struct task_struct`` waits for, a bit each; 0 if it could run on."""
    return task.__state if has_field("struct task_struct", "__state") else task.state  # 5.14
