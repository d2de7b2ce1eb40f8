"""Who runs, where and when: builtins that ask the kernel about the moment."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pybpf.bt.functions.function import Arguments, Function, Lowering
from pybpf.bt.lower.values import Made, Scalar, Value
from pybpf.bt.syntax import tree
from pybpf.bt.types import INT64, UINT32, UINT64, Pointer, Special, String, Type
from pybpf.compiler.ops import PTR
from pybpf.lang.state.counts import global_address
from pybpf.lang.values import raw
from pybpf.lang.values.reading import KERNEL
from pybpf.lang.values.running import namespace_ids, write_comm
from pybpf.types import u32

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand
    from pybpf.compiler.target import Target
    from pybpf.sys.bpf import ProgType

__all__ = ["CLOCKS", "ROWS", "current_task", "default_clock", "need_helper"]

_COMM = String(16)
_COMM_OF = Special("comm_of", u32)
_NAMESPACES = ("curr_ns", "init")
#: Clock of ``nsecs(clock)`` -> the helper that reads it.
CLOCKS = {
    "boot": "ktime_get_boot_ns",
    "monotonic": "ktime_get_ns",
    "tai": "ktime_get_tai_ns",
    "sw_tai": "ktime_get_boot_ns",
}


def helper_value(name: str, kind: Type, shift: int = 0) -> Lowering:
    """The lowering of a builtin that a helper gives."""

    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        need_helper(gen, node, name)
        value: Operand = gen.b.emit("call", helper=name)
        if shift:
            value = gen.b.emit("lshr", value, shift)
        elif kind.size == 4:
            value = gen.b.emit("zext", value, bits=32)
        return Scalar(kind, value)

    return lower


def need_helper(gen: Gen, node: tree.Node, name: str) -> None:
    """:raises CompileError: the target has no such helper for programs of this type."""
    if not gen.target.has_helper(gen.unit.type, name):
        kind = gen.unit.type.name.lower()
        gen.fail(node, f"this needs bpf_{name}, which {kind} programs do not have on this kernel")


def _check_namespace(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    for each in arguments:
        if not isinstance(each, tree.Name) or each.name not in _NAMESPACES:
            check.fail(each, f"a pid namespace is {' or '.join(_NAMESPACES)}")
    return UINT32


def _pid(index: int) -> Lowering:
    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        if arguments and getattr(arguments[0], "name", "") == "init":
            both = gen.b.emit("call", helper="get_current_pid_tgid")
            return Scalar(UINT32, gen.b.emit("lshr", both, 32) if index else gen.b.emit("zext", both, bits=32))
        return Scalar(UINT32, namespace_ids(gen)[index])

    return lower


def _check_comm(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    if not arguments:
        return _COMM
    check.integer(arguments[0], "the id of a process")
    return _COMM_OF


def _comm(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    if arguments:
        value = gen.scalar(arguments[0])
        return Made(_COMM_OF, lambda address, offset: raw.store(gen, address, offset, _COMM_OF.size, value))
    return Made(_COMM, lambda address, offset: write_comm(gen, raw.pointer(gen, address, offset), _COMM.room))


def _clock(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    for each in arguments:
        name = each.name if isinstance(each, tree.Name) else ""
        if name not in CLOCKS:
            check.fail(each, f"a clock is {', '.join(CLOCKS)}")
    return UINT64


def _nsecs(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    if arguments:
        (clock,) = arguments
        assert isinstance(clock, tree.Name)
        name = CLOCKS[clock.name]
        need_helper(gen, node, name)
        value: Operand = gen.b.emit("call", helper=name)
        if clock.name == "sw_tai":  # for kernels before 6.1: what it was apart when the script was compiled
            apart = time.clock_gettime_ns(time.CLOCK_TAI) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            value = gen.b.emit("add", value, apart)
        return Scalar(UINT64, value)
    return Scalar(UINT64, now(gen))


def now(gen: Gen) -> Operand:
    """Nanoseconds since boot: suspension counted where the kernel can (Linux 5.8)."""
    return gen.b.emit("call", helper=CLOCKS[default_clock(gen.target, gen.unit.type)])


def default_clock(target: Target, type: ProgType) -> str:
    """The clock that programs read where a script names none."""
    return "boot" if target.has_helper(type, CLOCKS["boot"]) else "monotonic"


def _elapsed(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    began = gen.b.emit("load", global_address(gen, gen.use_map(gen.shared.began)), offset=0, size=8, signed=False)
    return Scalar(UINT64, gen.b.emit("sub", now(gen), began))


def _ncpus(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return Scalar(INT64, os.cpu_count() or 1)


def _task_type(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
    from pybpf.bt.check.sizes import of_kernel

    known = of_kernel(check, "struct task_struct")
    return UINT64 if known is None else Pointer(known, KERNEL)


def _curtask(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return current_task(gen, gen.type(node))


def current_task(gen: Gen, kind: Type) -> Value:
    """The running task, as a pointer that programs may follow where the kernel lets them."""
    address, typed = gen.b.emit("call", helper="get_current_task"), None
    if gen.target.has_helper(gen.unit.type, "get_current_task_btf"):
        typed = gen.b.emit("call", type=PTR, helper="get_current_task_btf")  # one of the two is used
    return Scalar(kind, address, typed)


def _cgroup(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return helper_value("get_current_cgroup_id", UINT64)(gen, node, arguments)


def _row(signature: str, text: str, kind: Type, lower: Lowering) -> Function:
    return Function(signature, text, lambda check, node, arguments: kind, lower)


ROWS = (
    Function("pid([namespace])", "the id of the running process: in the pid namespace of the script, or init",
             _check_namespace, _pid(1)),
    Function("tid([namespace])", "the id of the running thread, likewise", _check_namespace, _pid(0)),
    _row("uid()", "the user id of the running process", UINT32, helper_value("get_current_uid_gid", UINT32)),
    _row("gid()", "its group id", UINT32, helper_value("get_current_uid_gid", UINT32, 32)),
    Function("comm([process])", "the name of the running thread, or when it is printed of a process", _check_comm,
             _comm),
    _row("cpu()", "the processor that the probe runs on", UINT32, helper_value("get_smp_processor_id", UINT32)),
    _row("ncpus()", "how many processors there are", INT64, _ncpus),
    _row("rand()", "a random number", UINT32, helper_value("get_prandom_u32", UINT32)),
    _row("jiffies()", "the kernel's count of timer ticks", UINT64, helper_value("jiffies64", UINT64)),
    _row("elapsed()", "nanoseconds since the script began", UINT64, _elapsed),
    _row("cgroup()", "the id of the control group (version 2)", UINT64, _cgroup),
    _row("numaid()", "the NUMA node of the processor", UINT32, helper_value("get_numa_node_id", UINT32)),
    Function("nsecs([clock])", "nanoseconds of a clock: boot, or monotonic, tai, sw_tai", _clock, _nsecs),
    Function("curtask()", "the running task, a struct task_struct *", _task_type, _curtask),
)  # fmt: skip
