"""Perf events: a program that runs each time that a clock, a counter of the kernel or one of the processor overflows.

Needs CAP_BPF and CAP_PERFMON. Virtual machines often have no counters of the processor.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import Any

from pybpf.attach.check import check_type
from pybpf.attach.events import PerfEvent, find_event
from pybpf.attach.link import Link, MultiLink
from pybpf.attach.perf_link import link_perf_event
from pybpf.errors import BpfError, KernelError, NotFoundError
from pybpf.prog import Program
from pybpf.sys.bpf import ProgType
from pybpf.sys.cpus import online_cpus
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.perf import AttrFlag, PerfType, perf_event_open

__all__ = ["attach_counter", "perf_event"]

_HARDWARE = (PerfType.HARDWARE, PerfType.HW_CACHE, PerfType.RAW)
#: what the lack of a counter gives
_NO_COUNTER = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)
_CLOCK = "cpu-clock"
#: how often a process is given the chance not to start threads while its threads are attached to
_TRIES = 10


def perf_event(
    program: Program,
    event: str | PerfEvent,
    *,
    period: int | None = None,
    frequency: int | None = None,
    pid: int | None = None,
    cpu: int | None = None,
    user_only: bool = False,
    cookie: int | None = None,
    or_clock: bool = False,
) -> MultiLink:
    """Run ``program`` at every ``period``-th event, or ``frequency`` times a second.

    :param program: of type PERF_EVENT; its context is ``struct bpf_perf_event_data``.
    :param event: a name that :func:`~pybpf.attach.events.find_event` knows, or what it gives.
    :param period: so many events to a run; nanoseconds for the clocks.
    :param frequency: so many runs a second on each CPU, about: the kernel adapts the period.
    :param pid: only while this process runs, with its threads (those that it starts later too since Linux 5.13). When
        it starts threads while it is being attached to, attaching starts anew; after ten times the last attempt
        stays, without the threads that started during it.
    :param cpu: only on this CPU; by default on all that are online now.
    :param user_only: not while the kernel runs.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 5.15).
    :param or_clock: where the processor has no such counter, take ``cpu-clock`` with the same frequency instead.
    :returns: a link for each CPU, or for each thread.
    :raises NotFoundError: there is no such event or process.
    :raises UnsupportedError: this machine does not count such events.
    :raises PackError: ``cpu`` or ``cookie`` is not even a number that the kernel could take.
    :raises KernelError: both or neither of ``period`` and ``frequency`` are given, the CPU is not online, or the kernel
        refused.
    """
    wanted = find_event(event) if isinstance(event, str) else event
    target = f"perf event {wanted.name}"
    check_type(program, target, ProgType.PERF_EVENT)
    fields = _sampling(f"attach to {target}", period, frequency)
    if user_only:
        fields["flags"] |= AttrFlag.EXCLUDE_KERNEL
    try:
        return attach_counter(program, wanted, target, fields, pid, cpu, cookie)
    except KernelError as error:
        if not (or_clock and frequency and wanted.type in _HARDWARE and error.errno in _NO_COUNTER):
            raise
    target = f"perf event {_CLOCK} for {wanted.name}"
    return attach_counter(program, find_event(_CLOCK), target, fields, pid, cpu, cookie)


def _sampling(action: str, period: int | None, frequency: int | None) -> dict[str, Any]:
    if (period is None) == (frequency is None):
        raise KernelError(action, errno.EINVAL, "exactly one of period and frequency is needed")
    value = period if frequency is None else frequency
    if not value or not 0 < value < 1 << 63:
        name = "period" if frequency is None else "frequency"
        raise KernelError(action, errno.EINVAL, f"{name} must be above 0 and below 2**63")
    return {"sample_period": value, "flags": AttrFlag.FREQ if frequency else 0}


def attach_counter(
    program: Program,
    event: PerfEvent,
    target: str,
    fields: dict[str, Any],
    pid: int | None,
    cpu: int | None,
    cookie: int | None,
) -> MultiLink:
    """Run a program at each overflow of a counter, on CPUs or in the threads of a process; see :func:`perf_event`.

    :param fields: what the attribute block has beside the event: the period, ``flags``, ...
    """
    fields = {**fields, "type": event.type, "config": event.config}
    if pid is None:
        places = [(-1, number) for number in (online_cpus() if cpu is None else [cpu])]
        return MultiLink(_attach_all(program, target, fields, places, pid, cookie), target)
    fields["flags"] |= AttrFlag.INHERIT | AttrFlag.INHERIT_THREAD
    threads = _threads(pid)
    tries = _TRIES
    while True:
        places = [(thread, -1 if cpu is None else cpu) for thread in threads]
        with ExitStack() as undo:
            links = undo.enter_context(MultiLink(_attach_all(program, target, fields, places, pid, cookie), target))
            # A thread that started meanwhile inherited, or it came before there was anything to inherit: there is no
            # telling which. Were it attached to now, it might be counted twice.
            before, threads = threads, _threads(pid)
            tries -= 1
            if set(threads) <= set(before) or not tries:
                undo.pop_all()
                return links


def _attach_all(
    program: Program,
    target: str,
    fields: dict[str, Any],
    places: list[tuple[int, int]],
    pid: int | None,
    cookie: int | None,
) -> list[Link]:
    links: list[Link] = []
    with ExitStack() as undo:
        for thread, number in places:
            opened = _open(target, thread, number, fields, pid)
            if opened is not None:
                links.append(undo.enter_context(link_perf_event(program.fd, opened, target, cookie=cookie)))
        if not links:
            raise NotFoundError(f"cannot attach to {target}: process {pid} has ended")
        undo.pop_all()
    return links


def _open(target: str, thread: int, cpu: int, fields: dict[str, Any], pid: int | None) -> Fd | None:
    """None when the thread has ended."""
    action = f"attach to {target}"
    without = AttrFlag.INHERIT | AttrFlag.INHERIT_THREAD
    tries = [fields, {**fields, "flags": fields["flags"] & ~without}] if fields["flags"] & without else [fields]
    for attempt in tries:
        try:
            return perf_event_open(pid=thread, cpu=cpu, what=target, **attempt)
        except OSError as error:
            if pid is not None and error.errno == errno.ESRCH:
                return None
            if error.errno == errno.EINVAL and attempt is not tries[-1]:
                continue  # INHERIT_THREAD came with Linux 5.13
            raise _failed(action, error, fields) from None
    return None


def _failed(action: str, error: OSError, fields: dict[str, Any]) -> BpfError:
    if error.errno == errno.EINVAL and fields["flags"] & AttrFlag.FREQ:
        most = _most_samples()
        if most is not None and fields["sample_period"] > most:
            cause = f"{fields['sample_period']} samples a second are more than the limit of {most}"
            return KernelError(action, errno.EINVAL, cause, "the sysctl kernel.perf_event_max_sample_rate sets it")
    return explain(action, error, "perf_event")


def _most_samples() -> int | None:
    try:
        with open("/proc/sys/kernel/perf_event_max_sample_rate", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _threads(pid: int) -> list[int]:
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        raise NotFoundError(f"there is no process {pid}") from None
