"""Watchpoints: a program that runs when memory is read, written or executed, by the processor's debug registers.

Needs CAP_BPF and CAP_PERFMON. A processor has few of them: four on x86_64.
"""

from __future__ import annotations

import errno

from pybpf.attach.check import check_type
from pybpf.attach.events import PerfEvent
from pybpf.attach.kinds.perf_event import attach_counter
from pybpf.attach.link import MultiLink
from pybpf.errors import KernelError
from pybpf.prog import Program
from pybpf.sys.bpf import ProgType
from pybpf.sys.perf import PerfType

__all__ = ["watchpoint"]

#: HW_BREAKPOINT_R, _W, _X of include/uapi/linux/hw_breakpoint.h
_MODES = {"r": 1, "w": 2, "x": 4}
_LENGTHS = (1, 2, 4, 8)
#: sizeof(long): the length that the kernel wants of breakpoints at instructions
_WORD = 8


def watchpoint(
    program: Program, address: int, length: int, mode: str, *, pid: int | None = None, cookie: int | None = None
) -> MultiLink:
    """Run ``program`` at accesses to memory.

    :param program: of type PERF_EVENT; its context is ``struct bpf_perf_event_data``.
    :param address: of the process, or of the kernel; a multiple of ``length``.
    :param length: 1, 2, 4 or 8 bytes.
    :param mode: ``"r"``, ``"w"``, ``"rw"`` or ``"x"``; x86 has no ``"r"`` alone, and takes it for ``"rw"``.
    :param pid: in this process, with its threads; by default on all CPUs, whatever runs there.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 5.15).
    :returns: a link for each CPU, or for each thread.
    :raises UnsupportedError: the processor, or the virtual machine, has no debug registers.
    :raises KernelError: a parameter cannot be, or the kernel refused.
    """
    target = f"watchpoint:{address:#x}:{length}:{mode}"
    check_type(program, target, ProgType.PERF_EVENT)
    if length not in _LENGTHS or address % length:
        cause = "the length is 1, 2, 4 or 8 bytes, and the address a multiple of it"
        raise KernelError(f"attach to {target}", errno.EINVAL, cause)
    if not mode or set(mode) - _MODES.keys() or ("x" in mode and len(mode) > 1):
        raise KernelError(f"attach to {target}", errno.EINVAL, "the mode is r, w, rw or x")
    fields = {
        "sample_period": 1,
        "flags": 0,
        "bp_type": sum(_MODES[each] for each in set(mode)),
        "config1": address,
        "config2": _WORD if mode == "x" else length,
    }
    return attach_counter(program, PerfEvent(target, PerfType.BREAKPOINT, 0), target, fields, pid, None, cookie)
