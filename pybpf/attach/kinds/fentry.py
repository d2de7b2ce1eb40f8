"""fentry, fexit and fmod_ret: kernel functions by trampoline, the cheapest way to trace them.

Arguments are typed by BTF, and fexit has them together with the result. Needs Linux 5.5 (arm64: 6.4) with BTF, CAP_BPF
and CAP_PERFMON. A program is bound to its function when it is loaded.
"""

from __future__ import annotations

import errno

from pybpf.attach.check import check_attach_type, check_type
from pybpf.attach.link import Link
from pybpf.attach.perf_link import check_cookies
from pybpf.errors import KernelError, UnsupportedError
from pybpf.prog import Program
from pybpf.sys.bpf import AttachType, Cmd, ProgType, bpf
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd

__all__ = ["attach_tracing", "fentry", "fexit", "fmod_ret"]

_ENOTSUPP = 524

#: errno of an attempt to attach -> cause and advice
_REFUSALS = {
    errno.EBUSY: (
        "the function's entry is in use by something that does not share it, such as live patching or another fmod_ret",
        "",
    ),
    errno.E2BIG: ("too many programs are attached to this function", "a function takes 38"),
    errno.ENOENT: ("the function is gone: was its module unloaded?", ""),
}


def fentry(program: Program, *, cookie: int | None = None) -> Link:
    """Run ``program`` at the entry of the function that it was loaded for.

    :param program: of type TRACING with ``expected_attach_type=TRACE_FENTRY`` and the function as ``attach_btf``; its
        context is an array of u64: the function's arguments.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 5.19).
    :raises UnsupportedError: the kernel cannot attach to this function, or to any on this architecture.
    :raises KernelError: the kernel refused.
    """
    return _attach(program, "fentry", AttachType.TRACE_FENTRY, cookie)


def fexit(program: Program, *, cookie: int | None = None) -> Link:
    """Run ``program`` when the function returns; as :func:`fentry`, with ``TRACE_FEXIT``.

    Its context has the function's arguments and behind them its result.
    """
    return _attach(program, "fexit", AttachType.TRACE_FEXIT, cookie)


def fmod_ret(program: Program, *, cookie: int | None = None) -> Link:
    """Run ``program`` instead of the function, whose result it gives, if that is not 0; as :func:`fentry`, with
    ``MODIFY_RETURN`` (Linux 5.7).

    Works for functions that the kernel marks for error injection, and for security hooks.
    """
    return _attach(program, "fmod_ret", AttachType.MODIFY_RETURN, cookie)


def _attach(program: Program, kind: str, wanted: AttachType, cookie: int | None) -> Link:
    target = f"{kind}:{program.spec.attach_btf if program.spec else program.name}"
    check_type(program, target, ProgType.TRACING)
    check_attach_type(program, target, wanted)
    return attach_tracing(program, target, wanted, cookie)


def attach_tracing(program: Program, target: str, kind: AttachType, cookie: int | None = None) -> Link:
    """Attach a program to what it was loaded for.

    Either command makes the same link; RAW_TRACEPOINT_OPEN without a name is the older one and takes no cookie.
    """
    action = f"attach to {target}"
    check_cookies([cookie or 0], target)
    try:
        if cookie is None:
            fd = bpf(Cmd.RAW_TRACEPOINT_OPEN, prog_fd=program.fileno())
        else:
            fd = bpf(Cmd.LINK_CREATE, prog_fd=program.fileno(), attach_type=kind, tracing_cookie=cookie)
    except OSError as error:
        raise _failed(action, error, cookie) from None
    return Link(Fd(fd, f"link to {target}"), target, program=program.fd)


def _failed(action: str, error: OSError, cookie: int | None) -> KernelError:
    number = error.errno or 0
    if number in (_ENOTSUPP, errno.EOPNOTSUPP):
        cause = "this kernel has no trampolines for kernel functions on this architecture (arm64: Linux 6.4)"
        return UnsupportedError(action, number, cause, "use a kprobe instead")
    if number == errno.EINVAL and cookie is not None:
        return UnsupportedError(action, number, "this kernel takes no cookie here (Linux 5.19)", "attach without one")
    if number in _REFUSALS:
        return KernelError(action, number, *_REFUSALS[number])
    return explain(action, error, "link_create")
