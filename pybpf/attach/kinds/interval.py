"""Intervals: a program that runs at regular times, on one CPU, by the kernel's own clock.

Needs CAP_BPF and CAP_PERFMON.
"""

from __future__ import annotations

import errno

from pybpf.attach.check import check_type
from pybpf.attach.link import Link
from pybpf.attach.perf_link import link_perf_event
from pybpf.errors import KernelError
from pybpf.prog import Program
from pybpf.sys.bpf import ProgType
from pybpf.sys.cpus import any_cpu
from pybpf.sys.explain import explaining
from pybpf.sys.perf import PerfType, Software, perf_event_open

__all__ = ["SHORTEST", "interval"]

#: nanoseconds; the kernel's software clock is not faster (perf_swevent_start_hrtimer)
SHORTEST = 10_000


def interval(program: Program, period: int, *, cpu: int | None = None, cookie: int | None = None) -> Link:
    """Run ``program`` every ``period`` nanoseconds.

    :param program: of type PERF_EVENT; its context is ``struct bpf_perf_event_data``.
    :param period: nanoseconds, at least 10,000.
    :param cpu: which CPU it runs on; by default the first one that is online.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 5.15).
    :raises PackError: ``cpu`` or ``cookie`` is not even a number that the kernel could take.
    :raises KernelError: the CPU is not online, or the kernel refused.
    """
    target = f"interval:{period}ns"
    check_type(program, target, ProgType.PERF_EVENT)
    if not SHORTEST <= period < 1 << 63:
        cause = f"the shortest interval is {SHORTEST} ns, the longest 2**63 - 1"
        raise KernelError(f"attach to {target}", errno.EINVAL, cause)
    with explaining(f"attach to {target}", "perf_event"):
        event = perf_event_open(
            pid=-1,
            cpu=any_cpu() if cpu is None else cpu,
            what=target,
            type=PerfType.SOFTWARE,
            config=Software.CPU_CLOCK,
            sample_period=period,
        )
    return link_perf_event(program.fd, event, target, cookie=cookie)
