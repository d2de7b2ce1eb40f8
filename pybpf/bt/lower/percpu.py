"""Reading an aggregate in a probe: the values of all CPUs, one after the other, make one integer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.maps import entry_key
from pybpf.bt.lower.turns import counted
from pybpf.bt.syntax import tree
from pybpf.bt.types import Aggregate
from pybpf.compiler.ops import PTR
from pybpf.lang.values.flow import Choice, when
from pybpf.sys.cpus import num_possible_cpus

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.bt.state.maps import ScriptMap
    from pybpf.compiler.ir import Operand

__all__ = ["reduced", "reduced_under"]

_HELPER = "map_lookup_percpu_elem"
_WORD = 8


def reduced(gen: Gen, node: tree.Node, found: ScriptMap, access: tree.Map | tree.MapAccess) -> Operand:
    """The integer that an aggregate stands for. :raises CompileError: the target has no such helper."""
    key: Operand = 0
    if isinstance(access, tree.MapAccess):
        key = entry_key(gen, found, access)
    if found.key is None or found.key.scalar:
        slot = gen.b.slot(found.spec.key_size, "key")
        gen.b.emit("store", slot, key, offset=0, size=found.spec.key_size)
        key = slot
    return reduced_under(gen, node, found, key)


def reduced_under(gen: Gen, node: tree.Node, found: ScriptMap, key: Operand) -> Operand:
    """The same, of the entry whose key is at an address."""
    b, kind = gen.b, found.value
    assert isinstance(kind, Aggregate)
    if not gen.target.has_helper(gen.unit.type, _HELPER):
        gen.fail(node, f"reading a {kind.way}() in a probe needs bpf_{_HELPER} (Linux 5.19); print it instead")
    loaded = b.emit("map", map=gen.use_map(found))
    total, count = Choice(b, 0), Choice(b, 0)

    def turn(cpu: Operand) -> None:
        pointer = b.emit("call", loaded, key, cpu, helper=_HELPER, type=PTR)
        with when(b, "ne", pointer, 0, "there"):
            _take(gen, kind, pointer, total, count)

    counted(gen, 0, num_possible_cpus(), turn)
    if kind.way != "avg":
        return total.value
    average = Choice(b, 0)
    with when(b, "ne", count.value, 0, "any"):
        average.set(b.emit("sdiv" if kind.signed else "udiv", total.value, count.value))
    return average.value


def _take(gen: Gen, kind: Aggregate, pointer: Operand, total: Choice, count: Choice) -> None:
    """Take the value of one CPU into account."""
    b = gen.b
    value = b.emit("load", pointer, offset=0, size=_WORD, signed=False)
    if kind.way in ("count", "sum"):
        total.set(b.emit("add", total.value, value))
        return
    seen = b.emit("load", pointer, offset=_WORD, size=_WORD, signed=False)
    if kind.way == "avg":
        total.set(b.emit("add", total.value, value))
        count.set(b.emit("add", count.value, seen))
        return
    cond = {"min": ("ult", "slt"), "max": ("ugt", "sgt")}[kind.way][kind.signed]
    with when(b, "ne", seen, 0, "seen"):
        keep, more, done = (b.new_block(name) for name in ("keep", "more", "kept"))
        b.branch("eq", count.value, 0, keep, more)
        gen.land(more)
        b.branch(cond, value, total.value, keep, done)
        gen.land(keep)
        total.set(value)
        count.set(1)
        b.jump(done)
        gen.land(done)
