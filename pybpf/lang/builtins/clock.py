"""Builtins that say when and where: clocks, random numbers, the processor."""

from __future__ import annotations

from pybpf.lang.builtins.builtin import builtin, helper_value, meant_for_probes
from pybpf.types import u32, u64

__all__ = ["boot_ns", "cpu", "jiffies64", "ktime_ns", "random", "tai_ns"]


@builtin(helper_value("ktime_get_ns", u64))
def ktime_ns() -> u64:
    """Nanoseconds since boot, suspension not counted: ``time.clock_gettime_ns(time.CLOCK_MONOTONIC)``."""
    meant_for_probes()


@builtin(helper_value("ktime_get_boot_ns", u64, advice="ktime_ns() does not count the time of suspension"))
def boot_ns() -> u64:
    """Nanoseconds since boot, suspension counted: ``time.clock_gettime_ns(time.CLOCK_BOOTTIME)``. Linux 5.8."""
    meant_for_probes()


@builtin(helper_value("ktime_get_tai_ns", u64, advice="take ktime_ns() and add the difference in user space"))
def tai_ns() -> u64:
    """Nanoseconds of international atomic time since 1970: ``time.clock_gettime_ns(time.CLOCK_TAI)``. Linux 6.1."""
    meant_for_probes()


@builtin(helper_value("jiffies64", u64, advice="take ktime_ns()"))
def jiffies64() -> u64:
    """The kernel's count of timer ticks. Linux 5.6."""
    meant_for_probes()


@builtin(helper_value("get_prandom_u32", u32))
def random() -> u32:
    """A pseudo-random number of 32 bits, not for secrets."""
    meant_for_probes()


@builtin(helper_value("get_smp_processor_id", u32))
def cpu() -> u32:
    """The number of the processor that the probe runs on."""
    meant_for_probes()
