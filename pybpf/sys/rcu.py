"""Waiting until programs that run at this moment have ended."""

from __future__ import annotations

import time

from pybpf.arch import host_arch
from pybpf.sys.libc import syscall

__all__ = ["wait_for_programs"]

#: MEMBARRIER_CMD_GLOBAL of include/uapi/linux/membarrier.h: waits for a grace period of RCU (Linux 4.3), some 10 ms
_GLOBAL = 1
#: seconds; programs that do not sleep take microseconds
_PAUSE = 0.02


def wait_for_programs() -> None:
    """Return when no CPU runs a program any more that was detached before: all run as readers of RCU.

    Closing a perf event, or a link to many functions, waits by itself; closing a raw tracepoint or a trampoline does
    not. Programs that may sleep are not waited for.
    """
    try:
        syscall(host_arch().nr_membarrier, _GLOBAL)
    except OSError:  # switched off (nohz_full), or refused by a filter
        time.sleep(_PAUSE)
