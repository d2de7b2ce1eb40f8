"""tracefs, the kernel's directory of tracepoints and trace events: read where it is mounted, or without any mount."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from pybpf.errors import KernelError, NotFoundError, PermissionDenied, UnsupportedError
from pybpf.lazy import regex
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.tracefs_root import open_tracefs, tracefs_mounts

__all__ = ["Tracefs", "tracefs"]

#: what the kernel takes as the name of a trace event or of its group
_NAME = regex(r"[A-Za-z0-9_.@-]+")
_CHUNK = 1 << 20


class Tracefs:
    """An open tracefs, whose files are named by their path inside it: ``"events/sched/sched_switch/id"``.

    It owns a descriptor: use it in a ``with`` block or :meth:`close` it. Opening takes some 0.1 ms, so keep one
    for many reads rather than for the life of a program.

    :ivar root: the directory.
    """

    __slots__ = ("root",)

    def __init__(self, root: Fd) -> None:
        self.root = root

    def read(self, path: str) -> str:
        """The text of a file. Bytes that are not UTF-8 become surrogates, as in ``os.fsdecode``.

        :raises NotFoundError: no such file.
        :raises KernelError: it cannot be read.
        """
        try:
            with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.root.fileno()), path) as file:
                return b"".join(iter(lambda: os.read(file.fileno(), _CHUNK), b"")).decode("utf-8", "surrogateescape")
        except OSError as error:
            raise _failed(f"read {path!r} in tracefs", error, path) from None

    def listdir(self, path: str = ".") -> list[str]:
        """The names in a directory, sorted. :raises NotFoundError, KernelError: as :meth:`read`."""
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            with Fd(os.open(path, flags, dir_fd=self.root.fileno()), path) as directory:
                return sorted(os.listdir(directory.fileno()))
        except OSError as error:
            raise _failed(f"list {path!r} in tracefs", error, path) from None

    def exists(self, path: str) -> bool:
        """Whether there is such a file or directory (False too where it may not be looked at)."""
        try:
            os.stat(path, dir_fd=self.root.fileno())
        except OSError:
            return False
        return True

    def append(self, path: str, text: str) -> None:
        """Write ``text`` by one write(2), keeping what the file has: how kprobe_events takes commands.

        :raises NotFoundError: no such file.
        :raises KernelError: the kernel refuses the text; its ``errno`` says why (EBUSY, EEXIST, EINVAL, ENOENT, ...).
        """
        action = f"write {text!r} to {path!r} in tracefs"
        data = text.encode("utf-8", "surrogateescape")
        try:
            # Not open(path, "a"): that seeks to the end, which these files refuse.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            fd = Fd(os.open(path, flags, dir_fd=self.root.fileno()), path)
        except OSError as error:
            raise _failed(action, error, path) from None
        with fd:
            try:
                written = os.write(fd.fileno(), data)
            except OSError as error:
                raise explain(action, error, "tracefs_write") from None
        if written != len(data):
            raise KernelError(action, errno.EIO, f"only {written} of {len(data)} bytes were taken")

    def event_id(self, system: str, name: str) -> int:
        """The number of a trace event, for ``config`` of perf_event_open(2).

        :raises NotFoundError: no such event.
        :raises KernelError: it cannot be read.
        """
        return int(self._event_file(system, name, "id"))

    def event_format(self, system: str, name: str) -> str:
        """The text of a trace event's ``format`` file. :raises: as :meth:`event_id`."""
        return self._event_file(system, name, "format")

    def _event_file(self, system: str, name: str, file: str) -> str:
        missing = NotFoundError(f"there is no tracepoint {system}:{name} in this kernel")
        if not (_NAME.fullmatch(system) and _NAME.fullmatch(name)) or "." in (system[0], name[0]):
            raise missing
        try:
            return self.read(f"events/{system}/{name}/{file}")
        except NotFoundError:
            raise missing from None

    def close(self) -> None:
        """Close the directory; a second call does nothing."""
        self.root.close()

    def __enter__(self) -> Tracefs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Tracefs {self.root!r}>"


def tracefs() -> Tracefs:
    """tracefs, from its mount or, where it has none, from a detached one that leaves the host as it was.

    :raises UnsupportedError: the kernel has no tracefs.
    :raises PermissionDenied: this process may neither read a mounted tracefs nor mount it.
    """
    try:
        return Tracefs(open_tracefs())
    except OSError as error:
        failed = error
    action, number = "open tracefs", failed.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        mounted = tracefs_mounts()
        if mounted:
            cause = f"{mounted[0].path} may be read by its owner only"
            advice = f"run as root, or let a group read it: mount -o remount,gid=GROUP,mode=750 {mounted[0].path}"
        else:
            cause = "it is not mounted, and mounting it for this process alone needs CAP_SYS_ADMIN"
            advice = "run as root, or have root run: mount -t tracefs -o gid=GROUP,mode=750 tracefs /sys/kernel/tracing"
        raise PermissionDenied(action, number, cause, advice)
    if number == errno.ENODEV:
        raise UnsupportedError(action, number, "this kernel has none", "it is built without CONFIG_TRACING")
    if number == errno.ENOSYS:
        raise UnsupportedError(
            action,
            number,
            "it is not mounted, and this kernel has no fsopen(2) (Linux 5.2)",
            "mount it: mount -t tracefs tracefs /sys/kernel/tracing",
        )
    raise explain(action, failed, "tracefs")


def _failed(action: str, error: OSError, path: str) -> Exception:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"cannot {action}: this kernel's tracefs has no {path!r}")
    return explain(action, error, "tracefs")
