"""``undisturbed``: reading maps quickly, without another task on the CPU."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["undisturbed"]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Read maps in a ``with`` block, quickly: no ordinary task takes the CPU in it, where that is permitted.

    While a process uses a map, the kernel runs no programs at tracepoints on that CPU (``bpf_prog_active``). Kernels
    that let tasks preempt each other there would skip the programs, and count them as missed, for the other task.
    Needs CAP_SYS_NICE, and a C library that can ask for it: musl's cannot (ENOSYS).
    """
    try:
        policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)
