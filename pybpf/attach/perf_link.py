"""Attaching a program to a perf event: by a link where the kernel has them, by an ioctl before."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from pybpf.attach.link import Closeable, Link
from pybpf.errors import PackError, UnsupportedError
from pybpf.sys.bpf import AttachType, Cmd, bpf
from pybpf.sys.explain import explaining
from pybpf.sys.fd import Fd
from pybpf.sys.perf import Ioctl, perf_ioctl

__all__ = ["check_cookies", "link_perf_event"]


def link_perf_event(
    program: Fd, event: Fd, target: str, *, cookie: int | None = None, owned: Sequence[Closeable] = ()
) -> Link:
    """Run ``program`` at every hit of ``event``. Takes over ``event``, and closes it when attaching fails.

    :param program: a program of the type that the event wants. Not owned.
    :param target: what the event is, for messages.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (needs a link: Linux 5.15).
    :param owned: what the link closes after ``event``; left alone when attaching fails.
    :raises PackError: the cookie does not fit into 64 bits.
    :raises KernelError: the kernel refused; UnsupportedError when it has no cookies.
    """
    try:
        check_cookies((cookie or 0,), target)
        link = _create(program, event, target, cookie)
        if link is not None:
            event.close()  # the link holds the event now
            return Link(link, target, program=program, owned=owned)
        with explaining(f"attach to {target}", "attach"):
            perf_ioctl(event, Ioctl.SET_BPF, program.fileno())
    except BaseException:
        event.close()
        raise
    return Link(event, target, program=program, is_bpf_link=False, owned=owned)


def check_cookies(cookies: Iterable[int], target: str) -> None:
    """:raises PackError: one of them is no unsigned 64-bit number."""
    for cookie in cookies:
        if not isinstance(cookie, int) or not 0 <= cookie < 1 << 64:
            raise PackError(f"cannot attach to {target}: the cookie {cookie!r:.40} is not a number from 0 to 2**64 - 1")


def _create(program: Fd, event: Fd, target: str, cookie: int | None) -> Fd | None:
    """A bpf_link for ``event``; None when the kernel has none for perf events (before 5.15)."""

    with explaining(f"attach to {target}", "link_create"):
        try:
            fd = bpf(
                Cmd.LINK_CREATE,
                prog_fd=program.fileno(),
                target_fd=event.fileno(),
                attach_type=AttachType.PERF_EVENT,
                perf_event_bpf_cookie=cookie or 0,
            )
            return Fd(fd, f"link to {target}")
        except OSError as error:
            if error.errno != errno.EINVAL or _has_links():
                raise
    if not cookie:
        return None
    raise UnsupportedError(
        f"attach to {target} with a cookie",
        errno.EOPNOTSUPP,
        "this kernel has no attach cookies (Linux 5.15)",
        "attach one program per place instead",
    )


def _has_links() -> bool:
    from pybpf.sys.features import has  # a large table, of use on old kernels and on errors only

    return has("perf_link")
