"""Waiting until programs that run at this moment have ended."""

from __future__ import annotations

import os
import sys
import time

from pybpf.arch import host_arch
from pybpf.sys.bpf import Attr, Cmd, MapType
from pybpf.sys.fd import Fd
from pybpf.sys.libc import syscall

__all__ = ["wait_for_programs"]

#: MEMBARRIER_CMD_GLOBAL of include/uapi/linux/membarrier.h: waits for a grace period of RCU (Linux 4.3), some 10 ms
_GLOBAL = 1
#: seconds; programs that do not sleep take microseconds
_PAUSE = 0.02


def wait_for_programs() -> None:
    """Return when no CPU runs a program any more that was detached before, or has read what was changed before: all run
    as readers of RCU.

    Closing a perf event, or a link to many functions, waits by itself; closing a raw tracepoint or a trampoline does
    not. Programs that may sleep are not waited for.
    """
    try:
        if os.sysconf("SC_NPROCESSORS_ONLN") > 1:  # else the call returns at once, though a program may be preempted
            syscall(host_arch().nr_membarrier, _GLOBAL)
            return
    except OSError:  # switched off (nohz_full), or refused by a filter
        pass
    try:
        _store_a_map()
    except OSError:
        time.sleep(_PAUSE)


def _store_a_map() -> None:
    """Store into a map of maps: the kernel waits for who may still use what was there (Linux 5.0)."""
    sizes = {"key_size": 4, "value_size": 4, "max_entries": 1}
    with Fd(Attr(Cmd.MAP_CREATE, map_type=MapType.ARRAY, **sizes).call()) as inner:
        outer_attr = Attr(Cmd.MAP_CREATE, map_type=MapType.ARRAY_OF_MAPS, inner_map_fd=inner.fileno(), **sizes)
        with Fd(outer_attr.call()) as outer:
            value = inner.fileno().to_bytes(4, sys.byteorder)
            Attr(Cmd.MAP_UPDATE_ELEM, map_fd=outer.fileno(), key=bytes(4), value=value).call()
