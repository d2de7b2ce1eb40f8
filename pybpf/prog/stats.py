"""Run-time statistics: the kernel counts and times every program's runs while somebody asks it to."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pybpf.errors import UnsupportedError
from pybpf.sys.bpf import Cmd, bpf
from pybpf.sys.explain import explain, explaining
from pybpf.sys.fd import Fd

__all__ = ["run_time_stats"]

_SYSCTL = "/proc/sys/kernel/bpf_stats_enabled"
_RUN_TIME = 0  # BPF_STATS_RUN_TIME
_ACTION = "turn on run-time statistics"


@contextmanager
def run_time_stats() -> Iterator[None]:
    """Have :attr:`pybpf.prog.Program.stats` counted in a ``with`` block, for every program of the machine.

    Some 20 ns more for each run of a program. Needs CAP_SYS_ADMIN. Before Linux 5.8 the sysctl
    ``kernel.bpf_stats_enabled`` is set, and put back in the end, which a process that is killed cannot do.

    :raises PermissionDenied: not permitted.
    :raises UnsupportedError: the kernel has no statistics (before Linux 5.1).
    """
    try:
        fd = Fd(bpf(Cmd.ENABLE_STATS, type=_RUN_TIME), "run-time statistics")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise explain(_ACTION, error, "stats") from None
    else:
        with fd:
            yield
        return
    before = _sysctl("1")
    try:
        yield
    finally:
        _sysctl(before)


def _sysctl(value: str) -> str:
    """Set the sysctl; returns what it was."""
    with explaining(_ACTION, "stats"):
        try:
            with open(_SYSCTL) as file:
                before = file.read().strip()
            with open(_SYSCTL, "w") as file:
                file.write(value)
        except FileNotFoundError:
            raise UnsupportedError(_ACTION, errno.ENOENT, "this kernel has none (Linux 5.1)") from None
    return before
