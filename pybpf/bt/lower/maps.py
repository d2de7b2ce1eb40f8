"""Maps: reading, storing, stepping and deleting entries; one lookup where it can be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.values import Entry, Own, Scalar, Value, converted
from pybpf.bt.syntax import tree
from pybpf.bt.types import Aggregate, Tuple, Type
from pybpf.lang.state.counts import element_address, global_address
from pybpf.lang.values import raw
from pybpf.lang.values.flow import Choice, when
from pybpf.sys.bpf import MapType

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.bt.state.maps import ScriptMap
    from pybpf.compiler.ir import Operand

__all__ = ["cell_address", "delete_entry", "has_entry", "key_of", "read_entry", "step_entry", "store_entry",
           "update_checked"]  # fmt: skip

_MAKES_ROOM = (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)


def map_of(gen: Gen, node: tree.Map | tree.MapAccess) -> ScriptMap:
    """The map of an access."""
    return gen.map(node.name if isinstance(node, tree.Map) else node.map.name)


def key_value(gen: Gen, keys: list[tree.Expression], kind: Type) -> Value:
    """A key, of the type that the map's keys have."""
    if len(keys) == 1:
        return gen.as_type(keys[0], kind)
    from pybpf.bt.lower.expressions import tuple_value

    assert isinstance(kind, Tuple)
    return tuple_value(gen, kind, [gen.read(key) for key in keys])


def key_of(gen: Gen, value: Value) -> Operand:
    """A key as the operations on maps take it: a register, or a pointer to memory that has it."""
    return value.operand(gen) if value.type.scalar else value.own(gen).pointer(gen)


def entry_key(gen: Gen, found: ScriptMap, node: tree.MapAccess) -> Operand:
    """The key of an access."""
    assert found.key is not None
    return key_of(gen, key_value(gen, node.keys, found.key))


def cell_address(gen: Gen, found: ScriptMap) -> Operand:
    """The address of the value of a map without keys: this CPU's, where each has one."""
    name = gen.use_map(found)
    return element_address(gen, name) if found.per_cpu else global_address(gen, name)


def _there(found: ScriptMap) -> int:
    """Where a map without keys keeps whether it has a value."""
    offset: int = found.spec.value.__layout__.fields["there"].offset
    return offset


def mark(gen: Gen, found: ScriptMap, address: Operand) -> None:
    """A map without keys has a value from here on."""
    gen.b.emit("store", address, 1, offset=_there(found), size=1)


def read_entry(gen: Gen, node: tree.Map | tree.MapAccess) -> Value:
    """``@x``, ``@x[key]``; zero where there is no entry."""
    found = map_of(gen, node)
    kind = found.value
    if isinstance(kind, Aggregate):
        return Aggregated(gen, found, node)
    if found.key is None:
        place = Own(kind, cell_address(gen, found), 0)
        return Scalar(kind, place.operand(gen)) if kind.scalar else place
    assert isinstance(node, tree.MapAccess)
    pointer = gen.b.emit("lookup", entry_key(gen, found, node), map=gen.use_map(found))
    return loaded(gen, pointer, kind)


def loaded(gen: Gen, pointer: Operand, kind: Type) -> Value:
    """The value that a lookup may have found."""
    if not kind.scalar:
        return Entry(kind, pointer)
    value = Choice(gen.b, 0)
    with when(gen.b, "ne", pointer, 0, "found"):
        value.set(Own(kind, pointer, 0).operand(gen))
    return Scalar(kind, value.value)


class Aggregated(Value):
    """The value of an aggregate, which is read only where somebody computes with it."""

    def __init__(self, gen: Gen, found: ScriptMap, node: tree.Map | tree.MapAccess) -> None:
        self.type = found.value
        self.map = found
        self.node = node


def store_entry(gen: Gen, node: tree.Map | tree.MapAccess, value: Value) -> None:
    """``@x = value``, ``@x[key] = value``"""
    found = map_of(gen, node)
    value = converted(gen, value, found.value)
    if found.key is None:
        address = cell_address(gen, found)
        if not value.clean:
            raw.clear(gen, address, 0, found.value.size)
        value.store(gen, address, 0)
        mark(gen, found, address)
        return
    assert isinstance(node, tree.MapAccess)
    key = entry_key(gen, found, node)
    operand = value.operand(gen) if value.type.scalar else value.own(gen).pointer(gen)
    update_checked(gen, found, key, operand)


def update_checked(gen: Gen, found: ScriptMap, key: Operand, value: Operand) -> None:
    """Update; what finds no room is counted."""
    name = gen.use_map(found)
    if found.spec.type in _MAKES_ROOM:
        gen.b.emit("update", key, value, 0, map=name)
        return
    failed = gen.b.emit("tryupdate", key, value, 0, map=name)
    with when(gen.b, "ne", failed, 0, "full"):
        found.counter.bump(gen)


def step_entry(gen: Gen, node: tree.Step, amount: int) -> Value:
    """``@x++``, ``--@x[key]``: changed where it is."""
    target = node.target
    assert not isinstance(target, tree.Variable)
    found = map_of(gen, target)
    kind = found.value
    before = _changed(gen, found, target, amount)
    return Scalar(kind, gen.b.emit("add", before, amount) if node.prefix else before)


def _changed(gen: Gen, found: ScriptMap, target: tree.Map | tree.MapAccess, amount: int) -> Operand:
    """Add to an entry, from zero where there is none; what it was before."""
    b, kind = gen.b, found.value
    if found.key is None:
        address = cell_address(gen, found)
        before = Own(kind, address, 0).operand(gen)
        Scalar(kind, b.emit("add", before, amount)).store(gen, address, 0)
        mark(gen, found, address)
        return before
    assert isinstance(target, tree.MapAccess)
    key = entry_key(gen, found, target)
    pointer = b.emit("lookup", key, map=gen.use_map(found))
    old = Choice(b, 0)
    there, absent, done = (b.new_block(name) for name in ("there", "absent", "stepped"))
    b.branch("ne", pointer, 0, there, absent)
    gen.land(there)
    value = Own(kind, pointer, 0).operand(gen)
    old.set(value)
    Scalar(kind, b.emit("add", value, amount)).store(gen, pointer, 0)
    b.jump(done)
    gen.land(absent)
    update_checked(gen, found, key, amount)
    b.jump(done)
    gen.land(done)
    return old.value


def delete_entry(gen: Gen, found: ScriptMap, keys: list[tree.Expression]) -> Operand:
    """Delete an entry; whether it was there."""
    b = gen.b
    if found.key is None:
        address = cell_address(gen, found)
        there = b.emit("load", address, offset=_there(found), size=1, signed=False)
        raw.clear(gen, address, 0, found.value.size)
        b.emit("store", address, 0, offset=_there(found), size=1)
        return there
    key = key_of(gen, key_value(gen, keys, found.key))
    failed = b.emit("delete", key, map=gen.use_map(found))
    return b.emit("cmp", failed, 0, cond="eq")


def has_entry(gen: Gen, found: ScriptMap, keys: list[tree.Expression]) -> Operand:
    """Whether there is an entry."""
    assert found.key is not None
    key = key_of(gen, key_value(gen, keys, found.key))
    return gen.b.emit("cmp", gen.b.emit("lookup", key, map=gen.use_map(found)), 0, cond="ne")


