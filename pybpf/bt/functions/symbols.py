"""Addresses that have names: ``ksym``, ``usym``, ``func``; the names are looked up where they are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.lower.values import Made, Value
from pybpf.bt.syntax import tree
from pybpf.bt.types import Integer, Nothing, Pointer, Special, Type, struct_of
from pybpf.lang.values import raw
from pybpf.types import u32, u64

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["KSYM", "ROWS", "USYM", "function_address", "probed_address"]

_USER = struct_of((("address", u64), ("pid", u32)))
KSYM = Special("ksym", u64)
USYM = Special("usym", _USER)
_USER_KINDS = frozenset({"uprobe", "uretprobe", "usdt"})


def _check(kind: Special) -> Any:
    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        found = check.read(check.value(arguments[0]))
        if not isinstance(found, (Integer, Pointer, Nothing)):
            check.fail(arguments[0], f"{kind.what}() names an address, and this is {found.name}")
        return kind

    return check_it


def _ksym(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return kernel_address(gen, gen.scalar(arguments[0]))


def kernel_address(gen: Gen, address: Operand) -> Value:
    """An address of the kernel that is printed by its name."""
    return Made(KSYM, lambda to, offset: raw.store(gen, to, offset, 8, address))


def _usym(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
    return user_address(gen, gen.scalar(arguments[0]))


def user_address(gen: Gen, address: Operand) -> Value:
    """An address of the running process that is printed by its name."""
    gen.shared.user_addresses = True
    process = gen.b.emit("lshr", gen.b.emit("call", helper="get_current_pid_tgid"), 32)

    def write(to: Operand, offset: int) -> None:
        raw.store(gen, to, offset, 8, address)
        raw.store(gen, to, offset + 8, 8, process)

    return Made(USYM, write)


def function_address(gen: Gen, node: tree.Node) -> Value:
    """The function that is probed, which is printed by its name."""
    address = probed_address(gen, node)
    return user_address(gen, address) if gen.checked.place.kind in _USER_KINDS else kernel_address(gen, address)


def probed_address(gen: Gen, node: tree.Node) -> Operand:
    """The address of the probe: the kernel tells it, or before that the registers do, but not at a return."""
    kind, point = gen.checked.place.kind, gen.checked.place.point
    # the kernel tells it of uprobes from Linux 6.6 on, and inside of a function of the kernel not at all
    if kind in ("uprobe", "usdt") or (kind == "kprobe" and (point.offset or point.address is not None)):
        return _program_counter(gen)
    if gen.target.has_helper(gen.unit.type, "get_func_ip"):
        return gen.b.emit("call", gen.ctx, helper="get_func_ip")
    if kind in ("kretprobe", "uretprobe"):
        gen.fail(node, "this needs bpf_get_func_ip (Linux 5.15) where a function returns")
    return _program_counter(gen)


def _program_counter(gen: Gen) -> Operand:
    arch = gen.target.arch
    return gen.b.emit("load", gen.ctx, offset=arch.registers[arch.ip], size=8, signed=False)


ROWS = (
    Function("ksym(address)", "the name of an address of the kernel", _check(KSYM), _ksym),
    Function("usym(address)", "the name of an address of the running process", _check(USYM), _usym),
)
