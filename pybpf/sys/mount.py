"""File systems of the kernel: where one is mounted, and a mount of our own that nobody else sees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from pybpf.arch import host_arch
from pybpf.record import NamedTuple
from pybpf.sys.fd import Fd
from pybpf.sys.libc import address, syscall

__all__ = ["Mount", "detached_mount", "mounts", "open_mount"]

# include/uapi/linux/mount.h; fsconfig and fsmount have the two syscall numbers after fsopen's
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Mount(NamedTuple):
    """A mount point of this process's mount namespace."""

    path: str
    device: int  #: as ``st_dev`` of the file system's own files
    writable: bool


def mounts(fstype: str) -> Iterator[Mount]:
    """The mounts of whole file systems of type ``fstype`` (such as ``"tracefs"``), in the order of mounting.

    :raises OSError: /proc is not mounted.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            # "36 35 98:0 /root /mount/point rw,noatime shared:1 - type source superoptions" (proc(5))
            left, _, right = line.partition(" - ")
            if right.partition(" ")[0] != fstype:
                continue
            _, _, device, root, path, options = left.split(" ")[:6]
            if root == "/":
                major, minor = device.split(":")
                plain = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
                yield Mount(plain, os.makedev(int(major), int(minor)), "rw" in options.split(","))


def open_mount(mount: Mount) -> Fd:
    """The root directory of a mounted file system.

    :raises OSError: it may not be read, or something else is mounted over it.
    """
    fd = Fd(os.open(mount.path, _DIRECTORY), f"directory {mount.path}")
    if os.fstat(fd.fileno()).st_dev != mount.device:
        fd.close()
        raise FileNotFoundError(f"{mount.path} is hidden by another mount")
    return fd


def detached_mount(fstype: str) -> Fd:
    """The root directory of a new mount that is attached nowhere and goes away with the descriptor.

    Needs CAP_SYS_ADMIN over the mount namespace and Linux 5.2 (fsopen(2)).

    :raises OSError: ENODEV when the kernel has no such file system, EPERM, ENOSYS.
    """
    fsopen = host_arch().nr_fsopen
    name = fstype.encode() + b"\0"
    with Fd(syscall(fsopen, address(name), _FSOPEN_CLOEXEC), f"{fstype} context") as context:
        syscall(fsopen + 1, context.fileno(), _FSCONFIG_CMD_CREATE)
        with Fd(syscall(fsopen + 2, context.fileno(), _FSMOUNT_CLOEXEC), f"{fstype} mount") as mount:
            # fsmount gives an O_PATH descriptor, which cannot be listed; the mount lives on through the second one.
            return Fd(os.open(".", _DIRECTORY, dir_fd=mount.fileno()), f"detached {fstype}")
