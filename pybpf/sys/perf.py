"""perf_event_open(2): its attribute block, ioctls and record types (include/uapi/linux/perf_event.h)."""

from __future__ import annotations

import ctypes
import fcntl
import struct
from enum import IntEnum
from typing import Any

from pybpf.arch import host_number
from pybpf.errors import PackError
from pybpf.sys.fd import Fd
from pybpf.sys.libc import address, syscall

__all__ = ["AttrFlag", "Ioctl", "PerfType", "Software", "perf_event_open", "perf_ioctl"]


class PerfType(IntEnum):
    """``enum perf_type_id``; dynamic PMUs (kprobe, uprobe) have their own numbers in sysfs."""

    HARDWARE = 0
    SOFTWARE = 1
    TRACEPOINT = 2
    HW_CACHE = 3
    RAW = 4
    BREAKPOINT = 5


class Software(IntEnum):
    """``enum perf_sw_ids``."""

    CPU_CLOCK = 0
    TASK_CLOCK = 1
    PAGE_FAULTS = 2
    CONTEXT_SWITCHES = 3
    CPU_MIGRATIONS = 4
    PAGE_FAULTS_MIN = 5
    PAGE_FAULTS_MAJ = 6
    ALIGNMENT_FAULTS = 7
    EMULATION_FAULTS = 8
    DUMMY = 9
    BPF_OUTPUT = 10
    CGROUP_SWITCHES = 11


class AttrFlag(IntEnum):
    """Bits of the flags word of ``struct perf_event_attr``."""

    DISABLED = 1 << 0
    INHERIT = 1 << 1
    EXCLUDE_USER = 1 << 4
    EXCLUDE_KERNEL = 1 << 5
    EXCLUDE_HV = 1 << 6
    FREQ = 1 << 10
    WATERMARK = 1 << 14
    SAMPLE_ID_ALL = 1 << 18
    WRITE_BACKWARD = 1 << 27
    INHERIT_THREAD = 1 << 35  # with INHERIT: by threads, not by child processes (Linux 5.13)


class Ioctl(IntEnum):
    """ioctl requests of a perf event; the numbers of every architecture but ppc64, mips and sparc."""

    ENABLE = 0x2400
    DISABLE = 0x2401
    SET_OUTPUT = 0x2405
    PERIOD = 0x40082404
    ID = 0x80082407
    SET_BPF = 0x40042408
    PAUSE_OUTPUT = 0x40042409
    QUERY_BPF = 0xC008240A


# PERF_ATTR_SIZE_VER5 (Linux 4.1): all that pybpf sets, and known to every kernel since.
_ATTR_SIZE = 112
_FLAG_FD_CLOEXEC = 8
_FIELDS = {
    "type": (0, "=I"),
    "config": (8, "=Q"),
    "sample_period": (16, "=Q"),  # or the frequency, with AttrFlag.FREQ
    "sample_type": (24, "=Q"),
    "read_format": (32, "=Q"),
    "flags": (40, "=Q"),
    "wakeup_events": (48, "=I"),
    "bp_type": (52, "=I"),
    "config1": (56, "=Q"),  # kprobe_func, uprobe_path, bp_addr
    "config2": (64, "=Q"),  # probe_offset, kprobe_addr, bp_len
    "clockid": (92, "=i"),
    "sample_max_stack": (108, "=H"),
}  # fmt: skip
_NR = host_number("nr_perf_event_open")


def perf_event_open(pid: int = -1, cpu: int = -1, group_fd: int = -1, what: str = "perf event", **values: Any) -> Fd:
    """Open a perf event (close-on-exec) with the given fields of its attribute block.

    :param pid: the process, 0 for this one, -1 for every process on ``cpu``.
    :param cpu: the CPU, or -1 for every CPU that ``pid`` runs on.
    :param what: what the descriptor is called in messages.
    :param values: fields of ``struct perf_event_attr``; ``config1`` and ``config2`` also take ``bytes``.
    :raises PackError: a number does not fit its field.
    :raises OSError: plain; the caller says what it was doing by :mod:`pybpf.sys.explain`.
    """
    attr = ctypes.create_string_buffer(_ATTR_SIZE)
    struct.pack_into("=I", attr, 4, _ATTR_SIZE)
    for name, value in values.items():
        offset, code = _FIELDS[name]
        try:
            struct.pack_into(code, attr, offset, value if isinstance(value, int) else address(value))
        except struct.error:
            raise PackError(f"{value!r:.40} does not fit {name} of a perf event") from None
    for name, value in (("process", pid), ("CPU", cpu)):
        if not -1 <= value < 1 << 31:  # the kernel would take the lower 32 bits
            raise PackError(f"{value!r:.40} is not the number of a {name}")
    try:
        return Fd(syscall(_NR, ctypes.addressof(attr), pid, cpu, group_fd, _FLAG_FD_CLOEXEC), what)
    except OSError as error:
        error.request = {"pid": pid, "cpu": cpu, **values}  # type: ignore[attr-defined]  # for pybpf.sys.explain
        raise


def perf_ioctl(event: Fd, request: Ioctl, argument: int | bytes = 0) -> None:
    """An ioctl on a perf event; ``argument`` is a number, or the bytes that the kernel reads.

    :raises OSError: plain; the caller says what it was doing by :mod:`pybpf.sys.explain`.
    """
    fcntl.ioctl(event.fileno(), request, argument)
