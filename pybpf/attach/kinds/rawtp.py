"""Raw tracepoints: a tracepoint's own arguments, without the record; and the same with types from BTF.

They cost less than tracepoints and need no tracefs, only CAP_BPF and CAP_PERFMON (Linux 4.17).
"""

from __future__ import annotations

import errno
import re

from pybpf.attach.check import check_attach_type, check_type
from pybpf.attach.kinds.fentry import attach_tracing
from pybpf.attach.link import Link
from pybpf.attach.perf_link import check_cookies
from pybpf.errors import BpfError, KernelError, NotFoundError, UnsupportedError
from pybpf.lazy import regex
from pybpf.prog import Program
from pybpf.sys.bpf import AttachType, Cmd, ProgType, bpf
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.features import has
from pybpf.sys.near import did_you_mean

__all__ = ["btf_tracepoint", "raw_tracepoint"]

_NAME = regex(r"\w{1,127}", re.ASCII)


def raw_tracepoint(program: Program, name: str, *, cookie: int | None = None) -> Link:
    """Run ``program`` at a tracepoint, on all CPUs.

    :param program: of type RAW_TRACEPOINT; its context is an array of u64: the tracepoint's arguments.
    :param name: without the system: ``"sched_switch"``, ``"sys_enter"``.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 6.10).
    :raises NotFoundError: there is no such tracepoint; the message says what comes close.
    :raises UnsupportedError: the kernel has no raw tracepoints, or no cookies for them.
    :raises KernelError: the kernel refused.
    """
    target = f"rawtracepoint:{name}"
    action = f"attach to {target}"
    check_type(program, target, ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE)
    check_cookies([cookie or 0], target)
    if not _NAME.fullmatch(name):
        raise NotFoundError(f"there is no raw tracepoint {name!r:.200}{_suggestion(name)}")
    try:
        fd = bpf(Cmd.RAW_TRACEPOINT_OPEN, name=name.encode(), prog_fd=program.fileno(), cookie=cookie or 0)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NotFoundError(f"there is no raw tracepoint {name!r} in this kernel{_suggestion(name)}") from None
        if error.errno == errno.EINVAL and cookie:
            _check_cookies_work(action)
        if error.errno in (errno.EINVAL, errno.EACCES):  # the rest of the request is right
            cause = f"program {program.name!r} reads more arguments than this tracepoint has"
            raise KernelError(action, error.errno, cause) from None
        raise explain(action, error, "link_create") from None
    return Link(Fd(fd, f"link to {target}"), target, program=program.fd)


def btf_tracepoint(program: Program, *, cookie: int | None = None) -> Link:
    """Run ``program`` at the tracepoint that it was loaded for (Linux 5.5).

    :param program: of type TRACING with ``expected_attach_type=TRACE_RAW_TP`` and the tracepoint as ``attach_btf``;
        its context is an array of u64, whose pointers it can follow without a helper.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 6.10).
    :raises UnsupportedError: the kernel has no cookies for raw tracepoints.
    :raises KernelError: the kernel refused.
    """
    name = program.spec.attach_btf if program.spec else program.name
    target = f"rawtracepoint:{name}"
    check_type(program, target, ProgType.TRACING)
    check_attach_type(program, target, AttachType.TRACE_RAW_TP)
    if cookie:
        _check_cookies_work(f"attach to {target}")  # others take the request, and drop the cookie
    return attach_tracing(program, target, AttachType.TRACE_RAW_TP, cookie)


def _check_cookies_work(action: str) -> None:
    if not has("raw_tp_cookies"):
        cause = "this kernel has no cookies for raw tracepoints (Linux 6.10)"
        raise UnsupportedError(action, errno.EOPNOTSUPP, cause, "attach one program per tracepoint instead")


def _suggestion(name: str) -> str:
    if ":" in name:
        return "; they are named without their system"
    from pybpf.btf import Btf  # only here, where a moment more does not matter

    try:
        return did_you_mean(name, (known for known, _ in Btf.vmlinux().tracepoints()))
    except BpfError:
        return ""
