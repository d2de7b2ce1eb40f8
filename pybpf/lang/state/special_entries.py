"""The rarer maps in a probe: bloom filters, task storage, maps of maps, tail calls."""

from __future__ import annotations

import ast
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.compiler.ops import PTR
from pybpf.lang.state.entries import HashVal, KeyedVal, MapVal
from pybpf.lang.state.sending import CURRENT_CPU
from pybpf.lang.values.constants import Const
from pybpf.lang.values.ints import Int, Test
from pybpf.lang.values.memory import MAP, OWN, Maybe, Ref, is_integer, place
from pybpf.lang.values.val import Val
from pybpf.maps import MapSpec
from pybpf.sys.bpf import UpdateFlags
from pybpf.types import u64

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen

__all__ = ["BloomVal", "InnerVal", "JumpsVal", "OuterVal", "PerfCounterVal", "TaskStorageVal"]

_PERF_VALUE = 24
_STORAGE_CREATE = 1  # BPF_LOCAL_STORAGE_GET_F_CREATE


def in_memory(gen: Gen, kind: Any, value: Val, at: ast.AST, name: str) -> Operand:
    """A pointer to a value, also to an integer."""
    if not is_integer(kind):
        return place(gen, value, kind, at, name).pointer(gen)
    kept = Ref.of(gen.b.slot(kind.__layout__.size, name), 0, kind, OWN)
    kept.put(gen, value, at)
    return kept.address


class BloomVal(MapVal):
    """A bloom filter."""

    def add(self, gen: Gen, at: ast.AST, value: Val) -> Val:
        """``b.add(v)``"""
        self.helper(gen, "map_push_elem", in_memory(gen, self.spec.value, value, at, "value"), 0)
        return Const(None)

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        return Test("eq", self.helper(gen, "map_peek_elem", in_memory(gen, self.spec.value, item, at, "value")), 0)

    methods = MappingProxyType({"add": add})


class TaskStorageVal(MapVal):
    """Values of tasks."""

    def _task(self, gen: Gen, at: ast.AST) -> Operand:
        for helper in ("get_current_task_btf", "task_storage_get"):
            if not gen.target.has_helper(gen.unit.type, helper):
                self.refuse(gen, at, f"needs bpf_{helper}, which this type of program does not have on this kernel; "
                            "use a hash with tid() as its key")  # fmt: skip
        return gen.b.emit("call", helper="get_current_task_btf", type=PTR)

    def current(self, gen: Gen, at: ast.AST) -> Val:
        """``s.current()``: the running task's value."""
        b = gen.b
        task = self._task(gen, at)
        found = b.emit("call", b.emit("map", map=self.name), task, 0, _STORAGE_CREATE, helper="task_storage_get",
                       type=PTR)  # fmt: skip
        return Maybe(found, Ref.of(found, 0, self.spec.value, MAP), f"{self.name}.current()")

    def drop_current(self, gen: Gen, at: ast.AST) -> Val:
        """``s.drop_current()``: take the running task's value away."""
        self.helper(gen, "task_storage_delete", self._task(gen, at))
        return Const(None)

    methods = MappingProxyType({"current": current, "drop_current": drop_current})


class JumpsVal(MapVal):
    """Programs to jump to."""

    def to(self, gen: Gen, at: ast.AST, index: Val) -> Val:
        """``j.to(i)``"""
        if gen.frame.owes:  # whether the jump is taken is seen when it is too late
            gen.fail(at, f"{self.name}.to() in a 'with' or in a loop of many turns would leave what these must end: "
                     "jump behind it, as by a 'break' before")  # fmt: skip
        gen.b.emit("tail", gen.ctx, index.scalar(gen, at), map=self.name)
        return Const(None)

    methods = MappingProxyType({"to": to})


class PerfCounterVal(MapVal):
    """Counts of a perf event."""

    def read(self, gen: Gen, at: ast.AST) -> Val:
        """``c.read()``"""
        b = gen.b
        if not gen.target.has_helper(gen.unit.type, "perf_event_read_value"):
            return Int(self.helper(gen, "perf_event_read", CURRENT_CPU), u64)
        # struct bpf_perf_event_value: the count, and two times; zeros where it fails
        value = b.slot(_PERF_VALUE, "counted")
        self.helper(gen, "perf_event_read_value", CURRENT_CPU, value, _PERF_VALUE)
        return Int(b.emit("load", value, offset=0, size=8, signed=False), u64)

    methods = MappingProxyType({"read": read})


class OuterVal(KeyedVal):
    """A map of maps."""

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        inner = self.lookup(gen, index, at)
        assert self.spec.inner is not None
        return Maybe(inner, InnerVal(self, inner, self.spec.inner), f"{self.name}[...]")

    def get(self, gen: Gen, at: ast.AST, key: Val, default: Val | None = None) -> Val:
        return self.item(gen, key, at)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        self.refuse(gen, at, "holds maps, which only Python can put in: outer[k] = map")

    methods = MappingProxyType({"get": get})


class InnerVal(HashVal):
    """A map that was found in a map of maps: the same operations, by its address."""

    def __init__(self, outer: MapVal, pointer: Operand, spec: MapSpec) -> None:
        self.outer = outer
        self.owner = outer.owner
        self.name = outer.name
        self.spec = spec
        self.pointer = pointer

    @property
    def what(self) -> str:
        return f"a map in {self.outer.name!r}"

    def ssa(self) -> tuple[Hashable, tuple[Operand, ...]]:
        return (InnerVal, self.name), (self.pointer,)

    def with_ssa(self, operands: Sequence[Operand]) -> Val:
        return InnerVal(self.outer, operands[0], self.spec)

    def keep(self, gen: Gen, kind: Any, value: Val, at: ast.AST, name: str) -> Operand:
        return in_memory(gen, kind, value, at, name)

    def find(self, gen: Gen, key: Operand) -> Operand:
        return gen.b.emit("call", self.pointer, key, helper="map_lookup_elem", type=PTR)

    def update(self, gen: Gen, key: Operand, value: Operand, flags: UpdateFlags) -> None:
        if isinstance(value, int):
            slot = gen.b.slot(self.spec.value_size, "value")
            gen.b.emit("store", slot, value, offset=0, size=self.spec.value_size)
            value = slot
        gen.b.emit("call", self.pointer, key, value, int(flags), helper="map_update_elem")

    def try_update(self, gen: Gen, key: Operand, value: Operand) -> Operand:
        return gen.b.emit("call", self.pointer, key, value, 0, helper="map_update_elem")

    def delete(self, gen: Gen, key: Operand) -> Operand:
        return gen.b.emit("call", self.pointer, key, helper="map_delete_elem")

    methods = MappingProxyType({"get": KeyedVal.get, "pop": HashVal.pop, "clear": HashVal.clear})
