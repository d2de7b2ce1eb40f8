"""Opening files that others control: regular files only, and paths that stay inside another root directory."""

from __future__ import annotations

import errno
import os
import stat

from pybpf.errors import BpfError, NotFoundError
from pybpf.sys.fd import Fd

__all__ = ["inside", "open_regular", "read_regular", "show"]

_MOST_SHOWN = 400
_MOST_LINKS = 40  # MAXSYMLINKS of the kernel's path walk


def show(path: str) -> str:
    """A path or name for messages: control characters and undecodable bytes escaped, the middle of long ones cut."""
    if len(path) > _MOST_SHOWN:
        path = f"{path[: _MOST_SHOWN // 2]}...{path[-_MOST_SHOWN // 2 :]}"
    return path if path.isprintable() else ascii(path)[1:-1]


def open_regular(path: str) -> Fd:
    """Open a regular file for reading; a FIFO, a device or a directory is refused instead of blocking.

    :raises NotFoundError: it does not exist, or a part of its path does not.
    :raises BpfError: it is no regular file, or may not be read.
    """
    try:
        fd = Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), show(path))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"there is no file {show(path)}") from None
    except OSError as error:
        raise BpfError(f"cannot open {show(path)}: {os.strerror(error.errno or 0)}") from None
    except ValueError:  # a NUL byte in the path
        raise NotFoundError(f"there is no file {show(path)}") from None
    if not stat.S_ISREG(os.fstat(fd.fileno()).st_mode):
        fd.close()
        raise BpfError(f"cannot read {show(path)}: it is not a regular file")
    return fd


def read_regular(path: str, limit: int) -> bytes:
    """At most ``limit`` bytes of a regular file. :raises NotFoundError, BpfError: as :func:`open_regular`."""
    with open_regular(path) as fd:
        try:
            return os.pread(fd.fileno(), limit, 0)
        except OSError as error:
            raise BpfError(f"cannot read {show(path)}: {os.strerror(error.errno or 0)}") from None


def inside(root: str, path: str) -> str:
    """The path that ``path`` has for a process whose root directory is ``root``, seen from here.

    Symbolic links are followed as that process would: a link to ``/usr/lib`` leads to ``root/usr/lib``, and ``..``
    does not leave ``root``. Parts that do not exist are kept as they are.

    :raises NotFoundError: too many symbolic links.
    """
    if root == "/":
        return path
    todo = [part for part in reversed(path.split("/")) if part]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            continue
        target = _readlink("/".join([root, *done, part]))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise NotFoundError(f"cannot follow {show(path)}: {os.strerror(errno.ELOOP)}")
        if target.startswith("/"):
            done = []
        todo += [part for part in reversed(target.split("/")) if part]
    return "/".join([root, *done])


def _readlink(path: str) -> str | None:
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None
