"""Builtins that look at the place of the probe: registers, instruction pointer, function, cookie."""

from __future__ import annotations

import ast

from pybpf.lang.builtins.builtin import builtin, call_helper, meant_for_probes
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.ints import Int
from pybpf.lang.values.val import Val
from pybpf.sys.bpf import ProgType
from pybpf.types import u64

__all__ = ["cookie", "func_ip", "func_ip_value", "register", "retval"]

#: types of program whose context begins with ``struct pt_regs``
_WITH_REGISTERS = (ProgType.KPROBE, ProgType.PERF_EVENT)


def _load(gen: Gen, name: str) -> Int:
    offset = gen.target.arch.registers[name]
    return Int(gen.b.emit("load", gen.ctx, offset=offset, size=8, signed=False), u64)


def _register(gen: Gen, at: ast.AST, name: Val) -> Val:
    known = gen.target.arch.registers
    wanted = gen.const(name)
    if not isinstance(wanted, str) or wanted not in known:
        gen.fail(at, f"register() takes the name of a register of {gen.target.arch.name}: {', '.join(known)}")
    return _load(gen, wanted)


@builtin(_register, *_WITH_REGISTERS)
def register(name: str) -> u64:
    """A register of the processor at the probe, by its name in ``struct pt_regs``: ``"di"``, ``"ip"``, ``"x0"``."""
    meant_for_probes()


def _retval(gen: Gen, at: ast.AST) -> Val:
    if gen.probe.kind in ("kprobe", "uprobe", "usdt"):
        gen.fail(at, f"retval() is not there yet in {gen.probe.title}: take a {gen.probe.kind[0]}retprobe")
    return _load(gen, gen.target.arch.result)


@builtin(_retval, ProgType.KPROBE)
def retval() -> u64:
    """What the function returned; in a kretprobe or uretprobe. Take ``s32(retval())`` for a C ``int``."""
    meant_for_probes()


def func_ip_value(gen: Gen, at: ast.AST) -> Int:
    """The address of the probed function."""
    kind, ip = gen.probe.kind, gen.target.arch.ip
    if kind in ("uprobe", "usdt"):
        return _load(gen, ip)
    if kind == "kprobe" and not gen.target.has_helper(gen.unit.type, "get_func_ip"):
        # a kprobe on x86 sees the registers as they are behind the breakpoint, one byte long
        past = 1 if gen.target.arch.name == "x86_64" else 0
        return Int(gen.b.emit("sub", _load(gen, ip).operand, past), u64)
    if kind == "uretprobe" and not gen.target.has("uprobe_multi"):  # which came with the same release
        gen.fail(at, f"{ast.unparse(at)} cannot be had here: at the return of a user function it needs Linux 6.6; take "
                 "it in a uprobe, and keep it in a map under tid()")  # fmt: skip
    return Int(call_helper(gen, at, ast.unparse(at), "get_func_ip", gen.ctx), u64)


@builtin(func_ip_value, ProgType.KPROBE, ProgType.TRACING)
def func_ip() -> u64:
    """The address of the probed function; also at its return, from Linux 5.15 on; of a process, from 6.6 on."""
    meant_for_probes()


@builtin(lambda gen, at: Int(call_helper(gen, at, "cookie()", "get_attach_cookie", gen.ctx), u64))
def cookie() -> u64:
    """The number that was given when the probe was attached (``cookie=``); 0 without one. Linux 5.15."""
    meant_for_probes()
