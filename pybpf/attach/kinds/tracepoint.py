"""Tracepoints: places that the kernel's authors chose, with a documented record each.

Needs CAP_BPF and CAP_PERFMON, and tracefs, which is reached without a mount.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pybpf.attach.check import check_type
from pybpf.attach.fields import TracepointField, parse_format
from pybpf.attach.link import Link
from pybpf.attach.perf_link import link_perf_event
from pybpf.errors import KernelError, NotFoundError
from pybpf.prog import Program
from pybpf.sys.bpf import ProgType
from pybpf.sys.cpus import any_cpu
from pybpf.sys.explain import explaining
from pybpf.sys.near import did_you_mean
from pybpf.sys.perf import PerfType, perf_event_open
from pybpf.sys.tracefs import Tracefs, tracefs

__all__ = ["tracepoint", "tracepoint_fields"]


def tracepoint(program: Program, name: str, *, cookie: int | None = None) -> Link:
    """Run ``program`` at a tracepoint, on all CPUs.

    :param program: of type TRACEPOINT; its context is the record that the event's ``format`` file describes.
    :param name: ``"system:event"``, as in ``"syscalls:sys_enter_openat"``.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 5.15).
    :raises NotFoundError: there is no such tracepoint; the message says what comes close.
    :raises UnsupportedError: the kernel has no tracefs, or no cookies.
    :raises KernelError: the kernel refused.
    """
    target = f"tracepoint:{name}"
    check_type(program, target, ProgType.TRACEPOINT)
    system, _, event_name = name.partition(":")
    with tracefs() as files, _suggesting(files, system, event_name):
        number = files.event_id(system, event_name)
    with explaining(f"attach to {target}", "perf_event"):
        event = perf_event_open(pid=-1, cpu=any_cpu(), what=target, type=PerfType.TRACEPOINT, config=number)
    try:
        return link_perf_event(program.fd, event, target, cookie=cookie)
    except KernelError as error:
        if error.errno == errno.EACCES:  # of what is permitted, the kernel is asked when the event is opened
            cause = f"program {program.name!r} reads beyond the record of this tracepoint"
            advice = f"the record is described by events/{system}/{event_name}/format in tracefs"
            raise KernelError(f"attach to {target}", errno.EACCES, cause, advice) from None
        raise


def tracepoint_fields(name: str) -> list[TracepointField]:
    """The fields of a tracepoint's record, as programs of type TRACEPOINT get it.

    :param name: ``"system:event"``.
    :raises NotFoundError, UnsupportedError, KernelError: as :func:`tracepoint`.
    """
    system, _, event = name.partition(":")
    with tracefs() as files, _suggesting(files, system, event):
        return parse_format(files.event_format(system, event))


@contextmanager
def _suggesting(files: Tracefs, system: str, event: str) -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        known: list[str] = []
        with suppress(NotFoundError, KernelError):
            known = files.read("available_events").split()
        if event:
            raise NotFoundError(f"{error}{did_you_mean(f'{system}:{event}', known)}") from None
        full = [name for name in known if name.endswith(f":{system}")]
        near = did_you_mean(full[0], full[:1]) if full else did_you_mean(system, known)
        raise NotFoundError(f"there is no tracepoint {system!r}: one is written as system:event{near}") from None
