"""Pinning: a program, map or link that a name in a bpf file system keeps alive without any process."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Union

from pybpf.errors import KernelError, NotFoundError
from pybpf.sys.bpf import Cmd, bpf
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd

__all__ = ["Path", "open_pinned", "pin", "unpin"]

Path = Union[str, "os.PathLike[str]"]

_BPF_FS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
_MOUNT_ADVICE = "a bpf file system is usually at /sys/fs/bpf: mount -t bpf bpf /sys/fs/bpf"

_statfs = ctypes.CDLL(None).statfs
_statfs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]


def pin(fd: Fd, path: Path) -> None:
    """Give a BPF object a name in a bpf file system; it then outlives this process until :func:`unpin`.

    :raises NotFoundError: the directory does not exist.
    :raises KernelError: there is something of that name already, or the directory is not in a bpf file system.
    """
    action = f"pin {fd.what} to {os.fspath(path)!r}"
    name = _encoded(action, path)
    try:
        bpf(Cmd.OBJ_PIN, pathname=name, bpf_fd=fd.fileno())
    except OSError as error:
        raise _failed(action, error, name) from None


def open_pinned(path: Path, kind: str, file_flags: int = 0) -> Fd:
    """A descriptor of the pinned object.

    :param kind: what it must be: ``"program"``, ``"map"`` or ``"link"``.
    :param file_flags: of maps: ``MapFlags.RDONLY`` or ``WRONLY``.
    :raises NotFoundError: there is no such name.
    :raises KernelError: it is not a pinned object, or an object of another kind.
    """
    action = f"open pinned {kind} {os.fspath(path)!r}"
    name = _encoded(action, path)
    try:
        fd = Fd(bpf(Cmd.OBJ_GET, pathname=name, file_flags=file_flags), f"pinned {kind} {os.fspath(path)}")
    except OSError as error:
        raise _failed(action, error, name) from None
    try:
        found = _kind(fd)
        if found != kind:
            raise KernelError(action, errno.EINVAL, f"it is a {found}")
    except OSError as error:  # a KernelError is one; the other comes of a missing /proc
        fd.close()
        raise error if isinstance(error, KernelError) else explain(action, error, "pin") from None
    return fd


def unpin(path: Path) -> None:
    """Remove the name of a pinned object; the object goes when nothing else holds it.

    :raises NotFoundError: there is no such name.
    :raises KernelError: it is not in a bpf file system, or may not be removed.
    """
    action = f"unpin {os.fspath(path)!r}"
    name = _encoded(action, path)
    try:
        if not _on_bpffs(os.path.dirname(name) or b"."):  # never delete what is no pin
            raise PermissionError(errno.EPERM, "")
        os.unlink(name)
    except OSError as error:
        raise _failed(action, error, name) from None


def _encoded(action: str, path: Path) -> bytes:
    """:raises NotFoundError: no file can have that name; the kernel would take what is before a NUL."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        name = b"\0"
    if not name or b"\0" in name:
        raise NotFoundError(f"cannot {action}: that is not a path")
    return name


def _on_bpffs(directory: bytes) -> bool:
    # f_type is the first member, a long on every 64-bit architecture but s390x (unsigned int); its rest is padding
    buffer = ctypes.create_string_buffer(256)
    if _statfs(directory, buffer):
        return False
    return ctypes.c_uint32.from_buffer(buffer).value == _BPF_FS_MAGIC


def _kind(fd: Fd) -> str:
    target = os.readlink(f"/proc/self/fd/{fd.fileno()}")  # anon_inode:bpf-map, bpf-prog, bpf-link or bpf_link
    return {"map": "map", "prog": "program"}.get(target.rpartition("bpf-")[2], "link")


def _failed(action: str, error: OSError, name: bytes) -> Exception:
    parent = os.path.dirname(name) or b"."
    if error.errno == errno.ENOENT:
        missing = name if os.path.isdir(parent) else parent
        return NotFoundError(f"cannot {action}: there is no {os.fsdecode(missing)!r}")
    number = error.errno or 0
    if number == errno.EEXIST:
        return KernelError(action, number, "that name is taken", "unpin it first, or choose another name")
    if os.path.isdir(parent) and not _on_bpffs(parent):
        return KernelError(action, number, f"{os.fsdecode(parent)} is not in a bpf file system", _MOUNT_ADVICE)
    if number == errno.EPERM and b"." in _first_missing(name):
        return KernelError(action, number, "names in a bpf file system have no dots", "leave the dot out")
    return explain(action, error, "pin")


def _first_missing(path: bytes) -> bytes:
    """The first part of a path that is not there."""
    while True:
        parent, part = os.path.split(path)
        if os.path.isdir(parent or b".") or parent == path:
            return part
        path = parent
