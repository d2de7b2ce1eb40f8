"""Per-architecture facts: registers, calling conventions, syscall numbers; one table entry per architecture."""

from __future__ import annotations

import errno
import os
import sys

from pybpf.arch.aarch64 import AARCH64
from pybpf.arch.base import Arch
from pybpf.arch.riscv64 import RISCV64
from pybpf.arch.syscalls import syscall_names
from pybpf.arch.x86_64 import X86_64
from pybpf.errors import UnsupportedError

__all__ = ["ARCHES", "Arch", "arch_named", "host_arch", "host_number", "syscall_names"]

#: name as in ``uname -m`` -> facts
ARCHES: dict[str, Arch] = {arch.name: arch for arch in (X86_64, AARCH64, RISCV64)}


def arch_named(name: str) -> Arch:
    """The architecture with the name that ``uname -m`` prints (``arm64`` and ``amd64`` work too).

    :raises UnsupportedError: no table for it.
    """
    name = {"arm64": "aarch64", "amd64": "x86_64"}.get(name, name)
    try:
        return ARCHES[name]
    except KeyError:
        known = ", ".join(ARCHES)
        raise UnsupportedError(
            f"run on {name}",
            errno.EOPNOTSUPP,
            f"pybpf has no table for {name}, only for {known}",
            "docs/architecture.md says how to add one",
        ) from None


def host_arch() -> Arch:
    """The architecture that this Python runs on.

    :raises UnsupportedError: there is no table for it, or this Python is a 32-bit one.
    """
    if sys.maxsize < 1 << 32:
        cause = "a 32-bit Python makes the system calls of another architecture than the kernel's"
        raise UnsupportedError("use BPF", errno.EOPNOTSUPP, cause, "install a 64-bit Python")
    return arch_named(os.uname().machine)


def host_number(name: str) -> int:
    """The number of a system call on this machine, a field of :class:`Arch`: ``"nr_bpf"``.

    Where there is no table for the machine it is -1, which every kernel refuses with ENOSYS: what only describes maps
    and programs works there too.
    """
    try:
        return int(getattr(host_arch(), name))
    except UnsupportedError:
        return -1
