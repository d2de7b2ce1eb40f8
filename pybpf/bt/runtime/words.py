"""What the host calls numbers: times by its clocks, errors, signals, system calls, control groups."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase

from pybpf.arch import host_arch, syscall_names

__all__ = ["cgroup_paths", "error_text", "signal_text", "syscall_text", "time_text"]

_SECOND = 10**9
#: Clock of ``nsecs(clock)`` -> the host's.
_CLOCKS = {"boot": time.CLOCK_BOOTTIME, "monotonic": time.CLOCK_MONOTONIC}
_MOUNTS = "/proc/self/mountinfo"


def time_text(layout: str, clock: str, nanoseconds: int) -> str:
    """A time of a clock, as :func:`time.strftime` formats it; ``%f`` is microseconds."""
    number = _CLOCKS.get(clock, getattr(time, "CLOCK_TAI", time.CLOCK_REALTIME))
    moment = nanoseconds + time.time_ns() - time.clock_gettime_ns(number)
    parts = [part.replace("%f", f"{moment % _SECOND // 1000:06}") for part in layout.split("%%")]
    return time.strftime("%%".join(parts), time.localtime(moment // _SECOND))


def error_text(number: int) -> str:
    """What an errno means."""
    return os.strerror(number)


def signal_text(number: int) -> str:
    """What a signal is called."""
    try:
        return signal.strsignal(number) or f"Unknown signal {number}"
    except ValueError:
        return f"Unknown signal {number}"


def syscall_text(number: int) -> str:
    """The name of a system call, or its number."""
    return syscall_names(host_arch()).get(number, str(number))


def cgroup_paths(identity: int, pattern: str) -> str:
    """Where a control group is, as ``hierarchy:path``, in each hierarchy that matches; ``""`` where it is not."""
    found = []
    for name, root in _hierarchies():
        if fnmatchcase(name, pattern):
            found += [f"{name}:{path}" for path in _groups(root, identity)]
    return ",".join(found)


def _hierarchies() -> Iterator[tuple[str, str]]:
    """The name of each hierarchy, and where it is mounted. That of version 2 is ``unified``."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return
    for line in lines:
        before, _, behind = line.partition(" - ")
        kind, place = behind.split(" ", 1)[0], before.split(" ")[4]
        if kind == "cgroup2":
            yield "unified", place
        elif kind == "cgroup":
            yield os.path.basename(place), place


def _groups(root: str, identity: int) -> Iterator[str]:
    """The paths, below a mount, of groups of an id: the number of their directory."""
    for place, _, _ in os.walk(root):
        try:
            number = os.stat(place).st_ino
        except OSError:
            continue
        if number == identity:
            yield place[len(root) :] or "/"
            return
