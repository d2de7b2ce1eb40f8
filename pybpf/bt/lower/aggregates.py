"""Aggregates: ``count()`` and its like change this CPU's own value where it is; reading one adds up all CPUs'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from pybpf.bt.lower.maps import Aggregated, cell_address, entry_key, key_value, map_of, mark, update_checked
from pybpf.bt.lower.values import Value
from pybpf.bt.state.maps import ScriptMap
from pybpf.bt.syntax import tree
from pybpf.bt.types import Aggregate, Integer
from pybpf.lang.values import raw
from pybpf.lang.values.flow import when
from pybpf.types import s64, sizeof, u32, u64

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.compiler.ir import Operand

__all__ = ["entry_changed", "numbered_key", "read", "update"]

_WORD = 8


def update(gen: Gen, node: tree.Map | tree.MapAccess, value: Value) -> None:
    """Add a value to an aggregate."""
    found = map_of(gen, node)
    kind = found.value
    assert isinstance(kind, Aggregate)
    if found.histogram:
        _count(gen, found, node, _bucket(gen, kind, value))
        return
    operand = value.operand(gen)
    if found.series:
        from pybpf.bt.lower.series import note

        note(gen, found, node, operand)
        return
    change = _CHANGE[kind.way]
    if found.key is None:
        address = cell_address(gen, found)
        change(gen, kind, address, operand)
        mark(gen, found, address)
        return
    assert isinstance(node, tree.MapAccess)
    key = entry_key(gen, found, node)
    first = lambda: _first(gen, kind, operand)  # noqa: E731
    entry_changed(gen, found, key, lambda pointer: change(gen, kind, pointer, operand), first)


def entry_changed(
    gen: Gen, found: ScriptMap, key: Operand, change: Callable[[Operand], None], first: Callable[[], Operand]
) -> None:
    """Change this CPU's value under a key, or store the first one."""
    b = gen.b
    pointer = b.emit("lookup", key, map=gen.use_map(found))
    there, absent, done = (b.new_block(name) for name in ("there", "absent", "added"))
    b.branch("ne", pointer, 0, there, absent)
    gen.land(there)
    change(pointer)
    b.jump(done)
    gen.land(absent)
    update_checked(gen, found, key, first())
    b.jump(done)
    gen.land(done)


def _first(gen: Gen, kind: Aggregate, value: Operand) -> Operand:
    """What an entry is after its first value: as operations on maps take it."""
    if sizeof(kind.kind) == _WORD:
        return value
    slot = gen.b.slot(sizeof(kind.kind), "first")
    raw.store(gen, slot, 0, _WORD, value)
    raw.store(gen, slot, _WORD, _WORD, 1)
    return slot


def _add(gen: Gen, address: Operand, offset: int, amount: Operand) -> None:
    """Add to what is this CPU's own; where another run may begin meanwhile, at once."""
    if not gen.alone:
        gen.b.emit("atomic", address, amount, kind="add", offset=offset, size=_WORD)
        return
    before = gen.b.emit("load", address, offset=offset, size=_WORD, signed=False)
    gen.b.emit("store", address, gen.b.emit("add", before, amount), offset=offset, size=_WORD)


def _sum(gen: Gen, kind: Aggregate, address: Operand, value: Operand) -> None:
    _add(gen, address, 0, value)


def _average(gen: Gen, kind: Aggregate, address: Operand, value: Operand) -> None:
    _add(gen, address, 0, value)
    _add(gen, address, _WORD, 1)


def _extreme(unsigned: str, signed: str) -> Callable[[Gen, Aggregate, Operand, Operand], None]:
    """Keep the value if it is the first one, or beyond what is kept."""

    def change(gen: Gen, kind: Aggregate, address: Operand, value: Operand) -> None:
        b = gen.b
        seen = b.emit("load", address, offset=_WORD, size=_WORD, signed=False)
        keep, more, done = (b.new_block(name) for name in ("keep", "more", "kept"))
        b.branch("eq", seen, 0, keep, more)
        gen.land(more)
        kept = b.emit("load", address, offset=0, size=_WORD, signed=False)
        b.branch(signed if kind.signed else unsigned, value, kept, keep, done)
        gen.land(keep)
        b.emit("store", address, value, offset=0, size=_WORD)
        b.emit("store", address, 1, offset=_WORD, size=_WORD)
        b.jump(done)
        gen.land(done)

    return change


#: Way -> how a value changes what a CPU keeps.
_CHANGE: Mapping[str, Callable[[Gen, Aggregate, Operand, Operand], None]] = MappingProxyType({
    "count": _sum,
    "sum": _sum,
    "avg": _average,
    "stats": _average,
    "min": _extreme("ult", "slt"),
    "max": _extreme("ugt", "sgt"),
})  # fmt: skip


def _bucket(gen: Gen, kind: Aggregate, value: Value) -> Operand:
    from pybpf.lang.state.buckets import linear_bucket, log2_bucket  # most scripts have no histograms
    from pybpf.lang.values.ints import Int

    number = Int(value.operand(gen), s64 if isinstance(value.type, Integer) and value.type.signed else u64)
    if kind.way == "hist":
        return log2_bucket(gen, number, *kind.options)
    return linear_bucket(gen, number, *kind.options)


def _count(gen: Gen, found: ScriptMap, node: tree.Map | tree.MapAccess, bucket: Operand) -> None:
    """Count one more value in a bucket."""
    if found.key is None:
        pointer = gen.b.emit("lookup", bucket, map=gen.use_map(found))
        with when(gen.b, "ne", pointer, 0, "bucket"):
            _add(gen, pointer, 0, 1)
        return
    key = numbered_key(gen, found, node, bucket)
    entry_changed(gen, found, key, lambda pointer: _add(gen, pointer, 0, 1), lambda: 1)


def numbered_key(gen: Gen, found: ScriptMap, node: tree.Map | tree.MapAccess, number: Operand) -> Operand:
    """The key of one of the numbered entries that a key of the script has: of a bucket, of an interval."""
    assert isinstance(node, tree.MapAccess) and found.key is not None
    whole = found.spec.key.__layout__
    inner = key_value(gen, node.keys, found.key)
    slot = gen.b.slot(whole.size, "bucket")
    start, end = whole.fields["key"], whole.fields["bucket"]
    if not inner.clean:
        raw.clear(gen, slot, 0, start.layout.size)
    inner.store(gen, slot, 0)
    raw.clear(gen, slot, start.layout.size, end.offset - start.layout.size)
    raw.store(gen, slot, end.offset, sizeof(u32), number)
    raw.clear(gen, slot, end.offset + sizeof(u32), whole.size - end.offset - sizeof(u32))
    return slot


def read(gen: Gen, node: tree.Node, value: Value) -> Operand:
    """The integer that all CPUs' values of an aggregate make: by a lookup of each (Linux 5.19)."""
    from pybpf.bt.lower.percpu import reduced

    assert isinstance(value, Aggregated)
    return reduced(gen, node, value.map, value.node)


