"""Addresses of functions that print as their names: ``func_name``, ``kernel_symbol``, ``user_symbol``."""

from __future__ import annotations

import ast
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

from pybpf.errors import ClosedError
from pybpf.lang.builtins.builtin import builtin, meant_for_probes
from pybpf.lang.builtins.registers import func_ip_value
from pybpf.lang.values.memory import name_of
from pybpf.lang.values.val import Val
from pybpf.report import printable
from pybpf.sys.bpf import ProgType
from pybpf.types import Struct, u32, u64

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.state.stacks import Stacks
    from pybpf.symbols import Symbol

__all__ = ["KernelAddress", "UserAddress", "func_name", "kernel_symbol", "user_symbol"]

_USER_PROBES = frozenset({"uprobe", "uretprobe", "usdt"})


class KernelAddress(Struct):
    """An address of the kernel that prints as the function there: the type of keys, values and fields for
    :func:`kernel_symbol`, and for :func:`func_name` in probes of the kernel."""

    address: u64
    _stacks = cast("Stacks | None", None)  # what knows names; see bound() of pybpf.lang.builtins.stacks

    @property
    def symbol(self) -> Symbol:
        """The function there. :raises ClosedError: it was not read from a tracer's map or event."""
        return _known(self._stacks).names.kernel([self.address])[0]

    def __str__(self) -> str:
        return repr(self) if self._stacks is None else _text(self.symbol)


class UserAddress(Struct):
    """An address of a process that prints as the function there; otherwise as :class:`KernelAddress`."""

    address: u64
    pid: u32
    _stacks = cast("Stacks | None", None)

    @property
    def symbol(self) -> Symbol:
        """The function there. :raises ClosedError: it was not read from a tracer's map or event."""
        return _known(self._stacks).names.user(self.pid, [self.address])[0]

    def __str__(self) -> str:
        return repr(self) if self._stacks is None else _text(self.symbol)


def _known(stacks: Stacks | None) -> Stacks:
    if stacks is None:
        raise ClosedError("this address was not read from a tracer's map or event: its name is not known")
    return stacks


def _text(symbol: Symbol) -> str:
    """``"malloc"``, ``"malloc+0x8"``, or the address."""
    if not symbol.known:
        return hex(symbol.address)
    return printable(symbol.demangled) + (f"+{symbol.offset:#x}" if symbol.offset else "")


class _Address(Val):
    """An address in a probe, and of user space the process."""

    def __init__(self, kind: type[Struct], operands: Sequence[Operand]) -> None:
        self.kind = kind
        self.operands = tuple(operands)

    @property
    def what(self) -> str:
        return f"a {self.kind.__name__}"

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        return (self.kind,), self.operands

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return _Address(self.kind, operands)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if not (isinstance(kind, type) and issubclass(kind, self.kind)):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; the type for it is {self.kind.__name__} of "
                        "pybpf.lang")  # fmt: skip
        gen.b.emit("store", address, self.operands[0], offset=offset, size=8)
        if self.kind is UserAddress:  # 4 bytes, and as many of padding
            gen.b.emit("store", address, self.operands[1], offset=offset + 8, size=8)


def _of_kernel(gen: Gen, address: Operand) -> Val:
    return _Address(KernelAddress, [address])


def _of_user(gen: Gen, address: Operand) -> Val:
    process = gen.b.emit("lshr", gen.b.emit("call", helper="get_current_pid_tgid"), 32)
    return _Address(UserAddress, [address, process])


@builtin(lambda gen, at, address: _of_kernel(gen, address.scalar(gen, at)))
def kernel_symbol(address: Any) -> KernelAddress:
    """An address of the kernel, to be printed as the name of the function there, also as key, value or field."""
    meant_for_probes()


@builtin(lambda gen, at, address: _of_user(gen, address.scalar(gen, at)))
def user_symbol(address: Any) -> UserAddress:
    """An address of the running process, to be printed as the name of the function there."""
    meant_for_probes()


def _func_name(gen: Gen, at: ast.AST) -> Val:
    made = _of_user if gen.probe.kind in _USER_PROBES else _of_kernel
    return made(gen, func_ip_value(gen, at).operand)


@builtin(_func_name, ProgType.KPROBE, ProgType.TRACING)
def func_name() -> Any:
    """The name of the probed function: a :class:`KernelAddress`, in probes of user space a :class:`UserAddress`.

    In a kretprobe or fexit from Linux 5.15 on.
    """
    meant_for_probes()
