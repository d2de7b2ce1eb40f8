"""Disks: their numbers in the kernel, their names in /sys, and where it shows what it does with requests."""

from __future__ import annotations

import os
from typing import Any

from pybpf.errors import NotFoundError
from pybpf.lang import has_field, kernel_ptr
from pybpf.tool.places import FirstOf
from pybpf.types import u32

__all__ = ["ISSUED", "MADE", "Request", "name_of", "number_of", "of_request", "sees_all_made"]

#: in the context of who makes the request, mostly
MADE = FirstOf(
    "tp_btf:block_io_start", "tracepoint:block:block_io_start", "kprobe:__blk_account_io_start",
    "kprobe:blk_account_io_start", "tp_btf:block_rq_insert", "tracepoint:block:block_rq_insert",
    what="requests that are made", optional=True,
)  # fmt: skip
ISSUED = FirstOf(
    "tp_btf:block_rq_issue", "tracepoint:block:block_rq_issue", "kprobe:blk_mq_start_request",
    what="requests that a device is given",
)  # fmt: skip
#: the parameter that all of these places have but tracepoints, under one name or another
Request: Any = kernel_ptr("struct request")

#: bits of a number that are those of the minor one (include/linux/kdev_t.h)
_MINOR_BITS = 20


def sees_all_made() -> bool:
    """Whether :data:`MADE` sees every request.

    Kernels before 6.5 show only those that wait in a queue; the others a device is given by who makes them.
    """
    found = MADE.find()
    return found is not None and not found.endswith("block_rq_insert")


def of_request(rq: Any) -> int:
    """In a probe: the number of the disk that a ``struct request`` is for; 0 if it is for none."""
    disk = rq.rq_disk if has_field("struct request", "rq_disk") else rq.q.disk  # Linux 5.17 moved it
    return u32(disk.major) << _MINOR_BITS | u32(disk.first_minor)


def number_of(name: str) -> int:
    """The number of a disk, as ``"sda"``.

    :raises NotFoundError: there is no such disk, or it is a partition.
    """
    path = f"/sys/class/block/{name}"
    try:
        with open(f"{path}/dev", encoding="ascii") as file:
            major, minor = map(int, file.read().split(":"))
    except (OSError, ValueError):
        raise NotFoundError(f"there is no disk {name!r}; {', '.join(sorted(os.listdir('/sys/block')))}") from None
    if os.path.exists(f"{path}/partition"):
        whole = os.path.basename(os.path.dirname(os.path.realpath(path)))
        raise NotFoundError(f"{name!r} is a partition of {whole}: requests are those of the disk")
    return major << _MINOR_BITS | minor


def name_of(number: int) -> str:
    """The name of a disk, or ``"259:3"`` if there is none any more."""
    major, minor = number >> _MINOR_BITS, number & (1 << _MINOR_BITS) - 1
    try:
        return os.path.basename(os.readlink(f"/sys/dev/block/{major}:{minor}"))
    except OSError:
        return f"{major}:{minor}"
