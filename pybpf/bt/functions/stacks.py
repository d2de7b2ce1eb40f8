"""Stacks of the kernel and of processes: kept by number in a map of the kernel's, named where they are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybpf.bt.functions.function import Arguments, Function
from pybpf.bt.lower.values import Made, Value
from pybpf.bt.syntax import tree
from pybpf.bt.types import Special, Type, struct_of
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when
from pybpf.types import s32, u32

if TYPE_CHECKING:
    from pybpf.bt.check.checker import Checker
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Instr, Operand

__all__ = ["ROWS", "depth_of"]

#: how many frames the kernel keeps where sysctl kernel.perf_event_max_stack was not changed
_DEPTH = 127
_MODES = ("bpftrace", "perf", "raw", "build_id")
_USER_STACK = 1 << 8  # BPF_F_USER_STACK


_KERNEL = struct_of((("id", s32),)), struct_of((("id", s32), ("depth", u32)))
_USER = struct_of((("id", s32), ("pid", u32))), struct_of((("id", s32), ("pid", u32), ("depth", u32)))


def _check(what: str, kinds: tuple[Any, Any]) -> Any:
    def check_it(check: Checker, node: tree.Node, arguments: Arguments) -> Type:
        mode, depth = check.facts.settings.stack_mode, _DEPTH
        for each in arguments:
            name = each.name if isinstance(each, tree.Name) else ""
            value = None if name in _MODES else check.constant(each)
            if name in _MODES:
                mode = name
            elif isinstance(value, int) and 1 <= value <= 1024:
                depth = value
            else:
                check.fail(each, f"{what} takes a mode ({', '.join(_MODES)}) and a depth, as in {what}(perf, 3)")
        return Special(what, kinds[check.facts.counts_frames], (mode, depth))

    return check_it


def _lower(user: bool) -> Any:
    def lower(gen: Gen, node: tree.Node, arguments: Arguments) -> Value:
        kind = gen.type(node)
        assert isinstance(kind, Special)
        gen.shared.user_addresses = gen.shared.user_addresses or user
        stacks = gen.b.emit("map", map=gen.use_map(gen.shared.stacks_of(kind.options[1])))
        number = gen.b.emit("call", gen.ctx, stacks, _USER_STACK if user else 0, helper="get_stackid")
        parts = [number]
        if user:
            parts.append(gen.b.emit("lshr", gen.b.emit("call", helper="get_current_pid_tgid"), 32))
        if gen.check.facts.counts_frames:
            parts.append(_frames(gen, kind.options[1], _USER_STACK if user else 0))

        def write(to: Operand, offset: int) -> None:
            for index, part in enumerate(parts):
                raw.store(gen, to, offset + 4 * index, 4, part)

        return Made(kind, write)

    return lower


def _frames(gen: Gen, depth: int, flags: int) -> Instr:
    """How many frames the stack has here; programs may not look into the map that keeps it."""
    b = gen.b
    size = b.emit("call", gen.ctx, b.slot(8 * depth, "frames"), 8 * depth, flags, helper="get_stack")
    count = Choice(b, 0)
    with when(b, "sgt", size, 0, "stack"):
        count.set(b.emit("lshr", size, 3))
    return b.emit("add", count.value, 0)


def depth_of(gen: Gen, value: Value) -> Operand:
    """How many frames a stack has."""
    found = value.own(gen)
    return gen.b.emit("load", found.address, offset=found.offset + value.type.size - 4, size=4, signed=False)


ROWS = (
    Function("kstack([mode], [depth])", "the stack of the kernel", _check("kstack", _KERNEL), _lower(False)),
    Function("ustack([mode], [depth])", "the stack of the running process", _check("ustack", _USER), _lower(True)),
)
