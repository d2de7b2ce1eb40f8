"""Where tracefs is: mounted somewhere, or else in a detached mount of our own."""

from __future__ import annotations

import os

from pybpf.sys.fd import Fd
from pybpf.sys.mount import Mount, detached_mount, mounts, open_mount

__all__ = ["open_tracefs", "tracefs_mounts"]


def open_tracefs() -> Fd:
    """The root directory of tracefs; its mount or a detached one.

    :raises OSError: plain; the reason of the way that came closest.
    """
    refused: OSError | None = None
    for mount in tracefs_mounts():
        try:
            return open_mount(mount)
        except PermissionError as error:
            refused = refused or error
        except OSError:  # hidden by another mount
            continue
    try:
        return detached_mount("tracefs")
    except OSError as error:
        failed = error
    for mount in mounts("debugfs"):  # mounts tracefs on ``tracing`` by itself, and unmounts it again
        try:
            return Fd(os.open(f"{mount.path}/tracing", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "debugfs/tracing")
        except OSError:
            continue
    raise refused or failed


def tracefs_mounts() -> list[Mount]:
    """Where tracefs is mounted, writable mounts first."""
    return sorted(mounts("tracefs"), key=lambda mount: not mount.writable)
