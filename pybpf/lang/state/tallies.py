"""Aggregates in a probe: ``hits.add()``, ``sizes[comm()].add(n)`` compile to an update of this CPU's own value."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.lang.state.buckets import linear_bucket, log2_bucket
from pybpf.lang.state.counts import element_address, global_address
from pybpf.lang.state.entries import HashVal
from pybpf.lang.values.constants import Const
from pybpf.lang.values.flow import when
from pybpf.lang.values.ints import Int, extended
from pybpf.lang.values.memory import MAP, Ref, is_integer, read
from pybpf.lang.values.structs import MadeStruct, StructRef
from pybpf.lang.values.val import Val
from pybpf.report import LinearHistogram, Log2Histogram
from pybpf.types import u32

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.front.gen import Gen
    from pybpf.lang.state.aggregates import Aggregate

__all__ = ["TallyVal"]


class TallyVal(HashVal):
    """An aggregate, or with ``key`` one of its entries."""

    owner: Aggregate

    def __init__(self, gen: Gen, owner: Aggregate, key: Val | None = None) -> None:
        super().__init__(gen, owner)
        self.under = key

    @property
    def what(self) -> str:
        return f"the {self.owner.way} {self.name!r}"

    instead = "in a probe it only grows, by add(...); Python reads it"

    def item(self, gen: Gen, index: Val, at: ast.AST) -> Val:
        if self.owner.key is None or self.under is not None:
            self.refuse(gen, at, "has no keys: make it with key=..., or write .add() without one")
        return TallyVal(gen, self.owner, index)

    def add_to_item(self, gen: Gen, index: Val, op: str, value: Val, at: ast.AST) -> None:
        if op != "+" or self.owner.way not in ("count", "sum"):
            self.refuse(gen, at, f"does not support '{op}=': write x[key].add(value)")
        self.item(gen, index, at).attr(gen, "add", at).call(gen, [value], {}, at)

    def set_item(self, gen: Gen, index: Val, value: Val, at: ast.AST) -> None:
        self.refuse(gen, at, "cannot be assigned to: write x[key].add(value)")

    def contains(self, gen: Gen, item: Val, at: ast.AST) -> Val:
        self._check_one(gen, at)
        return super().contains(gen, item, at)

    def del_item(self, gen: Gen, index: Val, at: ast.AST) -> None:
        self._check_one(gen, at)
        super().del_item(gen, index, at)

    def _check_one(self, gen: Gen, at: ast.AST) -> None:
        if self.owner.second is not None:
            self.refuse(gen, at, "is double-buffered: probes only add to it; keep what they look up in another map")

    def attr(self, gen: Gen, name: str, at: ast.AST) -> Val:
        if name != "add":
            self.refuse(gen, at, f"has no {name!r} in a probe; it has add(...)")
        return AddVal(self)

    def entry(self, gen: Gen, key: Operand | None, first: Val, update: Callable[[Ref], None], at: ast.AST) -> None:
        """Update this CPU's value under a key; None: the only value.

        :param first: the value that one is after its first update. It is stored for this CPU alone, zeros for the
            others: should another one have made the entry meanwhile, that stays as it is.
        """
        if key is None:
            update(self.found(gen, element_address(gen, self.name)))
            return
        second, turn = self.owner.second, self.owner.turn
        if second is None or turn is None:
            self._change(gen, key, first, update, at)
            return
        b, names = gen.b, (self.name, gen.use_map(second))
        which = read(gen, Ref.of(global_address(gen, gen.use_map(turn)), 0, turn.spec.value, MAP))
        blocks, done = [b.new_block(f"buffer{number}") for number in (0, 1)], b.new_block("buffered")
        b.branch("eq", which.scalar(gen, at), 0, *blocks)
        for self.name, block in zip(names, blocks):
            b.seal(block)
            b.start(block)
            self._change(gen, key, first, update, at)
            b.jump(done)
        self.name = names[0]
        b.seal(done)
        b.start(done)

    def _change(self, gen: Gen, key: Operand, first: Val, update: Callable[[Ref], None], at: ast.AST) -> None:
        """Update the value under a key of the map :attr:`name`."""
        pointer = self.find(gen, key)
        there, absent, done = (gen.b.new_block(each) for each in ("there", "absent", "added"))
        gen.b.branch("ne", pointer, 0, there, absent)
        gen.b.seal(there)
        gen.b.start(there)
        update(self.found(gen, pointer))
        gen.b.jump(done)
        gen.b.seal(absent)
        gen.b.start(absent)
        self.store_checked(gen, key, self.keep(gen, self.spec.value, first, at, "first"))
        gen.b.jump(done)
        gen.b.seal(done)
        gen.b.start(done)

    def _first(self, gen: Gen, value: Int, at: ast.AST) -> Val:
        """What an entry is after its first value."""
        kind = self.spec.value
        if is_integer(kind):
            return value
        return MadeStruct.of(gen, kind, [Const(1)] + [value] * (len(kind.__layout__.fields) - 1), {}, at)

    def record(self, gen: Gen, value: Int, at: ast.AST) -> None:
        """Add a value to the entry."""
        owner = self.owner
        if owner.key is not None and self.under is None:
            self.refuse(gen, at, "has keys: write x[key].add(value)")
        shape = owner.shape
        if shape is not None:
            self._count_in_bucket(gen, shape, value, at)
            return
        key = None if self.under is None else self.key(gen, self.under, at)
        first = self._first(gen, value, at)
        self.entry(gen, key, first, lambda ref: _WAYS[owner.way](gen, ref, value, at), at)

    def _count_in_bucket(self, gen: Gen, shape: Any, value: Int, at: ast.AST) -> None:
        if isinstance(shape, Log2Histogram):
            bucket = log2_bucket(gen, value, shape.bits)
        else:
            assert isinstance(shape, LinearHistogram)
            bucket = linear_bucket(gen, value, shape.lo, shape.hi, shape.step)
        one = Const(1)
        if self.under is not None:
            whole = MadeStruct.of(gen, self.spec.key, [self.under, Int(bucket, u32)], {}, at)
            self.entry(gen, self.key(gen, whole, at), one, lambda ref: ref.add(gen, "+", one, at), at)
            return
        pointer = gen.b.emit("lookup", bucket, map=self.name)
        with when(gen.b, "ne", pointer, 0, "bucket"):
            self.found(gen, pointer).add(gen, "+", one, at)


class AddVal(Val):
    """``aggregate.add``"""

    def __init__(self, tally: TallyVal) -> None:
        self.tally = tally

    @property
    def what(self) -> str:
        return f"the method add() of {self.tally.what}"

    def call(self, gen: Gen, args: Sequence[Val], named: Mapping[str, Val], at: ast.AST) -> Val:
        owner = self.tally.owner
        given = [*args, *named.values()]
        if owner.way == "count" and not given:
            given = [Const(1)]
        if len(given) != 1 or named.keys() - {"value"}:
            gen.fail(at, f"{self.what} takes one value: add(value)")
        value = given[0].number(gen, at)
        if owner.shape is None:
            value = Int(extended(gen, value, owner.number), owner.number)
        self.tally.record(gen, value, at)
        return Const(None)


def _field(gen: Gen, ref: Ref, name: str, at: ast.AST) -> Ref:
    assert isinstance(ref, StructRef)
    return ref.field(gen, name, at)


def _add(gen: Gen, ref: Ref, value: Int, at: ast.AST) -> None:
    ref.add(gen, "+", value, at)


def _average(gen: Gen, ref: Ref, value: Int, at: ast.AST) -> None:
    _field(gen, ref, "count", at).add(gen, "+", Const(1), at)
    _field(gen, ref, "total", at).add(gen, "+", value, at)


def _extreme(name: str, op: str) -> Callable[[Gen, Ref, Int, ast.AST], None]:
    """Keep the value if it is the first one, or beyond what is kept."""

    def update(gen: Gen, ref: Ref, value: Int, at: ast.AST) -> None:
        assert isinstance(ref, StructRef)
        b = gen.b
        count, kept = ref.attr(gen, "count", at), ref.attr(gen, name, at)
        keep, more, done = (b.new_block(each) for each in ("keep", "more", "kept"))
        b.branch("eq", count.scalar(gen, at), 0, keep, more)
        b.seal(more)
        b.start(more)
        value.compare(gen, op, kept, at).branch(gen, keep, done, at)
        b.seal(keep)
        b.start(keep)
        ref.set_attr(gen, name, value, at)
        b.jump(done)
        b.seal(done)
        b.start(done)

    return update


def _in_turn(*steps: Callable[[Gen, Ref, Int, ast.AST], None]) -> Callable[[Gen, Ref, Int, ast.AST], None]:
    def update(gen: Gen, ref: Ref, value: Int, at: ast.AST) -> None:
        for step in steps:
            step(gen, ref, value, at)

    return update


def _seen(gen: Gen, ref: Ref, value: Int, at: ast.AST) -> None:
    _field(gen, ref, "count", at).add(gen, "+", Const(1), at)


#: Way of aggregating -> how a value changes an entry. What asks for the first value comes before what counts it.
_WAYS: Mapping[str, Callable[[Gen, Ref, Int, ast.AST], None]] = MappingProxyType({
    "count": _add,
    "sum": _add,
    "avg": _average,
    "min": _in_turn(_extreme("min", "<"), _seen),
    "max": _in_turn(_extreme("max", ">"), _seen),
    "stats": _in_turn(_extreme("min", "<"), _extreme("max", ">"), _average),
})  # fmt: skip
