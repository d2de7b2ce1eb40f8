"""Constants of C's and the kernel's headers, which scripts need not include: sockets, files, errors, signals."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CONSTANTS"]

#: Prefixes of the names that Python knows from the same headers -> the module that has them.
_MODULES = (
    (socket, ("AF_", "SOCK_", "IPPROTO_", "SOL_", "SO_", "MSG_", "SHUT_", "TCP_", "IP_", "IPV6_")),
    (os, ("O_", "F_", "R_OK", "W_OK", "X_OK", "P_", "SEEK_", "PRIO_", "SCHED_", "CLD_", "W")),
    (stat, ("S_I",)),
    (errno, ("E",)),
    (signal, ("SIG",)),
)


def _constants() -> dict[str, int]:
    found: dict[str, int] = {}
    for module, prefixes in _MODULES:
        for name in dir(module):
            value = getattr(module, name)
            if name.isupper() and name.startswith(prefixes) and isinstance(value, int):
                found.setdefault(name, int(value))
    # O_LARGEFILE is 0 for C libraries of 64 bits, but not for the kernel
    found.update(
        AF_UNSPEC=0,
        PF_INET=found["AF_INET"],
        PF_INET6=found["AF_INET6"],
        INT_MAX=(1 << 31) - 1,
        UINT_MAX=(1 << 32) - 1,
        LONG_MAX=(1 << 63) - 1,
        PATH_MAX=4096,
        NAME_MAX=255,
        NULL=0,
        PAGE_SIZE=os.sysconf("SC_PAGE_SIZE"),
        PAGE_SHIFT=os.sysconf("SC_PAGE_SIZE").bit_length() - 1,
    )
    return found


#: Name -> value on this host.
CONSTANTS: Mapping[str, int] = MappingProxyType(_constants())
