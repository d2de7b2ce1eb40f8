"""What a test may leave behind: descriptors of this process, and BPF objects in the kernel.

Calls bpf(2) directly, not through pybpf's own wrapper: what is checked should not do the checking.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from pybpf.arch import host_arch
from pybpf.sys.libc import syscall

__all__ = ["BpfObject", "bpf_objects", "descriptors", "leaked"]


class BpfObject(NamedTuple):
    """A program, map or link in the kernel. The kernel hands ids out in rising order."""

    kind: str
    id: int

    def __str__(self) -> str:
        name = _name(self)
        return f"{self.kind} {self.id}" + (f" '{name}'" if name else "")


class _Kind(NamedTuple):
    next_id: int  #: enum bpf_cmd of include/uapi/linux/bpf.h
    fd_by_id: int
    name: int | None  #: offset of the name in struct bpf_*_info


_KINDS = {"prog": _Kind(11, 13, 64), "map": _Kind(12, 14, 24), "link": _Kind(31, 30, None)}
_OBJ_GET_INFO_BY_FD = 15
_TASK_FD_QUERY = 20
_NAME_SIZE = 16
#: the lines of /proc/PID/fdinfo/FD that name a BPF object
_FDINFO_ID = re.compile(r"^(prog|map|link)_id:\s*(\d+)$", re.MULTILINE)


def descriptors() -> dict[int, str]:
    """The open descriptors of this process -> what they refer to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor that listed the directory
            continue
    return found


def bpf_objects() -> set[BpfObject] | None:
    """Every program, map and link in the kernel; None where this process may not list them."""
    found = set()
    for kind, commands in _KINDS.items():
        last = 0
        while True:
            try:
                _, last, _ = struct.unpack("=III", _bpf(commands.next_id, struct.pack("=III", last, 0, 0)))
            except PermissionError:
                return None
            except OSError:  # ENOENT: that was the last one
                break
            found.add(BpfObject(kind, last))
    return found


def leaked(before: set[BpfObject], grace: float) -> set[BpfObject]:
    """Objects that came after ``before``, that no other process holds, and that stay for ``grace`` seconds.

    The kernel frees objects some time after their last descriptor is closed (RCU, work queues).
    """
    suspects = (bpf_objects() or set()) - before
    end = time.monotonic() + grace
    while suspects:
        suspects &= bpf_objects() or set()
        if suspects:
            suspects -= _held_by_others()
        if not suspects or time.monotonic() > end:
            break
        time.sleep(0.1)
    return suspects


def _bpf(cmd: int, attr: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    syscall(host_arch().nr_bpf, cmd, ctypes.addressof(buffer), len(attr))
    return buffer.raw


def _info(wanted: BpfObject, map_ids: int = 0, count: int = 0) -> bytes:
    """``struct bpf_*_info`` of an object; empty when it is gone. ``map_ids``: address of ``count`` u32."""
    attr = ctypes.create_string_buffer(struct.pack("=III", wanted.id, 0, 0), 12)
    try:
        fd = syscall(host_arch().nr_bpf, _KINDS[wanted.kind].fd_by_id, ctypes.addressof(attr), 12)
    except OSError:
        return b""
    try:
        info = ctypes.create_string_buffer(232)  # sizeof(struct bpf_prog_info), the largest
        if wanted.kind == "prog":
            struct.pack_into("=IQ", info, 52, count, map_ids)
        _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)))
        return info.raw
    finally:
        os.close(fd)


def _name(wanted: BpfObject) -> str:
    offset = _KINDS[wanted.kind].name
    raw = b"" if offset is None else _info(wanted)[offset : offset + _NAME_SIZE]
    return raw.partition(b"\0")[0].decode("ascii", "replace")


def _kept_by(holder: BpfObject) -> Iterator[BpfObject]:
    """What a link or program keeps alive."""
    if holder.kind == "link":
        info = _info(holder)
        if info:
            yield BpfObject("prog", struct.unpack_from("=I", info, 8)[0])
    elif holder.kind == "prog":
        ids = (ctypes.c_uint32 * 64)()
        info = _info(holder, ctypes.addressof(ids), len(ids))
        count = struct.unpack_from("=I", info, 52)[0] if info else 0
        yield from (BpfObject("map", number) for number in ids[: min(count, len(ids))])


def _held_by_others() -> set[BpfObject]:
    """What processes other than this one and its descendants hold, directly or through a link or program."""
    held: set[BpfObject] = set()
    todo = [found for pid in _other_processes() for found in _held_by(pid)]
    while todo:
        found = todo.pop()
        if found not in held:
            held.add(found)
            todo.extend(_kept_by(found))
    return held


def _other_processes() -> list[int]:
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:  # it ended
            continue
    ours = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        if not more:
            return [pid for pid in parents if pid not in ours]
        ours |= more


def _held_by(pid: int) -> Iterator[BpfObject]:
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for number in numbers:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            if target == "anon_inode:[perf_event]":
                # struct { pid, fd, flags, buf_len; u64 buf; u32 prog_id, fd_type; u64 offset, addr; }
                answer = _bpf(_TASK_FD_QUERY, struct.pack("=IIIIQIIQQ", pid, int(number), 0, 0, 0, 0, 0, 0, 0))
                yield BpfObject("prog", struct.unpack_from("=I", answer, 24)[0])
            elif target.startswith("anon_inode:bpf"):
                with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
                    yield from (BpfObject(kind, int(value)) for kind, value in _FDINFO_ID.findall(file.read()))
        except OSError:  # closed meanwhile, or a perf event without a program
            continue
