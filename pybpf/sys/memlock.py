"""Locked memory: kernels before 5.11 charge maps and programs to RLIMIT_MEMLOCK, whose default is far too small."""

from __future__ import annotations

import resource
from typing import Any

from pybpf.sys.bpf import Attr, Cmd

__all__ = ["bpf_charged", "call_charged"]

_UNLIMITED = resource.RLIM_INFINITY


def call_charged(attr: Attr) -> int:
    """``attr.call()`` for a command that takes kernel memory: MAP_CREATE, PROG_LOAD.

    When the kernel answers EPERM, the limit may be why, so it is raised as far as this process may (to the hard
    limit; without end with CAP_SYS_RESOURCE) and the call is made once more. The limit stays raised if that
    helped and is put back if not. Newer kernels, which do not ask the limit, are not affected.

    :raises OSError: plain; the caller says what it was doing by :mod:`pybpf.sys.explain`.
    """
    try:
        return attr.call()
    except PermissionError:
        before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if not _raise(before):
            raise
    try:
        return attr.call()
    except OSError:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
        raise


def bpf_charged(cmd: Cmd, **values: Any) -> int:
    """``bpf(cmd, **values)`` by :func:`call_charged`."""
    return call_charged(Attr(cmd, **values))


def _raise(before: tuple[int, int]) -> bool:
    """Raise the limit; whether it is higher now."""
    soft, hard = before
    if soft == _UNLIMITED:
        return False
    for limits in ((_UNLIMITED, _UNLIMITED), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)
        except (ValueError, OSError):  # a higher hard limit takes CAP_SYS_RESOURCE
            continue
        return limits[0] != soft
    return False
