"""Which CPUs there are: possible ones size per-CPU values, online ones take perf events."""

from __future__ import annotations

from functools import cache

__all__ = ["online_cpus", "parse_cpu_list", "possible_cpus"]

_SYSFS = "/sys/devices/system/cpu/"


def parse_cpu_list(text: str) -> list[int]:
    """``"0-2,5"`` -> ``[0, 1, 2, 5]``. :raises ValueError: it is not such a list."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        cpus += range(int(first), int(last if dash else first) + 1)
    return cpus


@cache
def possible_cpus() -> int:
    """How many CPUs the kernel has room for: the number of slots of a per-CPU map value. Fixed at boot."""
    with open(_SYSFS + "possible") as file:
        return parse_cpu_list(file.read())[-1] + 1


def online_cpus() -> list[int]:
    """The CPUs that run now, in order; they can change at any time."""
    with open(_SYSFS + "online") as file:
        return parse_cpu_list(file.read())
