"""The perf event types of kprobes and uprobes, whose numbers each kernel chooses (Linux 4.17)."""

from __future__ import annotations

import re
from functools import lru_cache

from pybpf.record import NamedTuple

__all__ = ["ProbePmu", "probe_pmu"]

_DEVICES = "/sys/bus/event_source/devices"


class ProbePmu(NamedTuple):
    """What perf_event_open(2) needs for a probe."""

    type: int
    return_bit: int  #: of ``config``: set for a probe at function return
    ref_ctr_shift: int | None  #: where in ``config`` the file offset of a semaphore begins; None before Linux 4.20


@lru_cache(maxsize=4)
def probe_pmu(name: str) -> ProbePmu | None:
    """The PMU ``"kprobe"`` or ``"uprobe"``; None where the kernel has none, or sysfs is not mounted."""
    try:
        with open(f"{_DEVICES}/{name}/type", encoding="ascii") as file:
            number = int(file.read())
    except (OSError, ValueError):
        return None
    return_bit = _first_bit(name, "retprobe")
    return ProbePmu(number, 0 if return_bit is None else return_bit, _first_bit(name, "ref_ctr_offset"))


def _first_bit(name: str, field: str) -> int | None:
    """``"config:32-63"`` in the format file of ``field`` -> 32."""
    try:
        with open(f"{_DEVICES}/{name}/format/{field}", encoding="ascii") as file:
            match = re.match(r"config:([0-9]+)", file.read())
    except OSError:
        return None
    return int(match[1]) if match else None
