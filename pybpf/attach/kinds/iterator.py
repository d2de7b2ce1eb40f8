"""Iterators: a program that the kernel calls for each of its tasks, maps, sockets, ..., and that prints what it likes.

Needs Linux 5.8 with BTF, CAP_BPF and CAP_PERFMON.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from pybpf.attach.check import check_attach_type, check_type
from pybpf.attach.link import Link
from pybpf.errors import PackError, UnsupportedError
from pybpf.prog import Program
from pybpf.prog.load import HasFd
from pybpf.sys.bpf import AttachType, Cmd, ProgType, bpf
from pybpf.sys.explain import explain, explaining
from pybpf.sys.fd import Fd

__all__ = ["IteratorLink", "iterator"]

_CHUNK = 1 << 16
#: union bpf_iter_link_info: a map's descriptor; or thread id, process id, pidfd
_MAP = struct.Struct("=I12x")
_TASK = struct.Struct("=III4x")


class IteratorLink(Link):
    """An attached iterator; each reading runs it once over everything."""

    def start(self) -> Fd:
        """A descriptor to read what one run prints. :raises ClosedError: the link is closed."""
        with explaining(f"start {self.target}", "iter"):
            return Fd(bpf(Cmd.ITER_CREATE, link_fd=self.fileno()), f"run of {self.target}")

    def chunks(self) -> Iterator[bytes]:
        """What one run prints, as it comes. :raises KernelError: the program failed."""
        with self.start() as fd:
            while True:
                try:
                    chunk = os.read(fd.fileno(), _CHUNK)
                except BlockingIOError:  # so many elements printed nothing that the kernel takes a break
                    continue
                except OSError as error:
                    raise explain(f"read from {self.target}", error, "iter") from None
                if not chunk:
                    return
                yield chunk

    def read(self) -> bytes:
        """All that one run prints."""
        return b"".join(self.chunks())

    def lines(self) -> Iterator[str]:
        """The lines that one run prints, without their ends; bytes that are not UTF-8 become surrogates."""
        rest = b""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode("utf-8", "surrogateescape") for line in whole)
        if rest:
            yield rest.decode("utf-8", "surrogateescape")


def iterator(
    program: Program, *, map: HasFd | None = None, pid: int | None = None, tid: int | None = None
) -> IteratorLink:
    """Attach an iterator.

    :param program: of type TRACING with ``expected_attach_type=TRACE_ITER`` and the iterator's name as ``attach_btf``:
        ``"task"``, ``"task_file"``, ``"bpf_map_elem"``, ``"tcp"``, ...
    :param map: the map to go through, for iterators of a map's elements.
    :param pid: only this process, for iterators of tasks (Linux 6.1).
    :param tid: only this thread, for iterators of tasks (Linux 6.1).
    :raises PackError: ``pid`` or ``tid`` is not a number of one.
    :raises UnsupportedError: the kernel cannot limit this iterator that way.
    :raises KernelError: the kernel refused.
    """
    name = program.spec.attach_btf if program.spec else program.name
    target = f"iter:{name}"
    check_type(program, target, ProgType.TRACING)
    check_attach_type(program, target, AttachType.TRACE_ITER)
    for what, number in (("process", pid), ("thread", tid)):
        if number is not None and not 0 < number < 1 << 31:  # 0 would mean all of them
            raise PackError(f"cannot attach to {target}: {number} is not the number of a {what}")
    fields: dict[str, object] = {}
    if map is not None:
        fields["iter_info"] = _MAP.pack(map.fd.fileno())
    elif pid is not None or tid is not None:
        fields["iter_info"] = _TASK.pack(tid or 0, pid or 0, 0)
    if fields:
        fields["iter_info_len"] = _TASK.size
    try:
        fd = bpf(Cmd.LINK_CREATE, prog_fd=program.fileno(), attach_type=AttachType.TRACE_ITER, **fields)
    except OSError as error:
        if fields and error.errno in (errno.EINVAL, errno.E2BIG):
            cause = "this kernel cannot limit this iterator to a map or a process"
            raise UnsupportedError(f"attach to {target}", error.errno, cause) from None
        raise explain(f"attach to {target}", error, "link_create") from None
    return IteratorLink(Fd(fd, f"link to {target}"), target, program=program.fd)
