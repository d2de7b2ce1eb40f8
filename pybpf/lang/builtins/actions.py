"""Builtins that act on what is traced: signals, and results of the kernel's functions."""

from __future__ import annotations

import ast
import signal as signals

from pybpf.lang.builtins.builtin import Lowering, builtin, call_helper, meant_for_probes
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.ints import Int
from pybpf.lang.values.val import Val
from pybpf.sys.bpf import ProgType
from pybpf.types import s64

__all__ = ["override_return", "signal", "signal_thread"]


def _send(helper: str, what: str) -> Lowering:
    def lower(gen: Gen, at: ast.AST, number: Val) -> Val:
        constant = gen.const(number)
        if constant is not None and not (isinstance(constant, int) and 0 < constant < signals.NSIG):
            gen.fail(at, f"{constant!r} is not the number of a signal; write signal.SIGUSR1, say, of Python's signal")
        return Int(call_helper(gen, at, what, helper, number.scalar(gen, at)), s64)

    return lower


@builtin(_send("send_signal", "signal()"))
def signal(number: int) -> s64:
    """Send a signal to the running process. Linux 5.3.

    :return: 0, or a negative errno: ``-EBUSY`` where the kernel cannot do so now.
    """
    meant_for_probes()


@builtin(_send("send_signal_thread", "signal_thread()"))
def signal_thread(number: int) -> s64:
    """Send a signal to the running thread; otherwise as :func:`signal`. Linux 5.5."""
    meant_for_probes()


def _override(gen: Gen, at: ast.AST, value: Val) -> Val:
    if gen.probe.row.name != "kprobe":
        gen.fail(at, "override_return() is for kprobes, at the entry of functions of the kernel that allow it, not for "
                 f"{gen.probe.title}")  # fmt: skip
    result = call_helper(gen, at, "override_return()", "override_return", gen.ctx, value.scalar(gen, at))
    return Int(result, s64)


@builtin(_override, ProgType.KPROBE)
def override_return(value: int) -> s64:
    """Let the probed function of the kernel return ``value`` at once, instead of running.

    For kprobes at the entry of functions that allow it (``ALLOW_ERROR_INJECTION``), on a kernel with
    CONFIG_BPF_KPROBE_OVERRIDE; the kernel refuses all others when the probe is attached.
    """
    meant_for_probes()
