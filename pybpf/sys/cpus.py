"""Which CPUs there are: possible ones size per-CPU values and arrays by CPU, online ones take perf events."""

from __future__ import annotations

from functools import cache

__all__ = ["any_cpu", "nr_cpu_ids", "num_possible_cpus", "online_cpus", "parse_cpu_list"]

_SYSFS = "/sys/devices/system/cpu/"


def parse_cpu_list(text: str) -> list[int]:
    """``"0-2,5"`` -> ``[0, 1, 2, 5]``. :raises ValueError: it is not such a list."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        cpus += range(int(first), int(last if dash else first) + 1)
    return cpus


@cache
def _possible_cpus() -> tuple[int, ...]:
    """The CPUs that the kernel has room for, in order. Fixed at boot; there can be gaps, as in ``0,2-3``."""
    with open(_SYSFS + "possible") as file:
        return tuple(parse_cpu_list(file.read()))


def num_possible_cpus() -> int:
    """How many CPUs are possible: the number of slots of a per-CPU map value, which the kernel leaves no gaps in."""
    return len(_possible_cpus())


def nr_cpu_ids() -> int:
    """The highest number of a possible CPU, and one more: the size of an array that is indexed by CPU."""
    return _possible_cpus()[-1] + 1


def online_cpus() -> list[int]:
    """The CPUs that run now, in order; they can change at any time."""
    with open(_SYSFS + "online") as file:
        return parse_cpu_list(file.read())


def any_cpu() -> int:
    """Where to open the perf event of a probe: one CPU stands for all, as programs run wherever the probe is hit."""
    return online_cpus()[0]
