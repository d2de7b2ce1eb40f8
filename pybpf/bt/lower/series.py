"""``tseries()``: each processor keeps a value for each of the last intervals of time, in a ring of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.lower.aggregates import entry_changed, numbered_key
from pybpf.bt.syntax import tree
from pybpf.bt.types import Aggregate
from pybpf.lang.values import raw
from pybpf.lang.values.flow import when
from pybpf.types import sizeof

if TYPE_CHECKING:
    from pybpf.bt.lower.gen import Gen
    from pybpf.bt.state.maps import ScriptMap
    from pybpf.compiler.ir import Operand

__all__ = ["note"]

_WORD = 8


class _Noted:
    """A value and when it came.

    :param address: of what a processor keeps of the interval, or of an older one in its place.
    """

    def __init__(self, gen: Gen, kind: Aggregate, value: Operand) -> None:
        from pybpf.bt.functions.process import CLOCKS

        interval, number, self.way, clock = kind.options
        self.gen = gen
        self.kind = kind
        self.value = value
        self.time = gen.b.emit("call", helper=CLOCKS[clock])
        self.epoch = gen.b.emit("udiv", self.time, interval)
        self.place = gen.b.emit("umod", self.epoch, number)
        self.offsets = {name: each.offset for name, each in kind.kind.__layout__.fields.items()}

    def _load(self, address: Operand, name: str) -> Operand:
        return self.gen.b.emit("load", address, offset=self.offsets[name], size=_WORD, signed=False)

    def _store(self, address: Operand, **values: Operand) -> None:
        for name, value in values.items():
            raw.store(self.gen, address, self.offsets[name], _WORD, value)

    def begin(self, address: Operand) -> None:
        """It is the first value of its interval."""
        self._store(address, value=self.value, count=1, epoch=self.epoch, time=self.time)

    def first(self) -> Operand:
        """The same, in memory of the program."""
        slot = self.gen.b.slot(sizeof(self.kind.kind), "first")
        self.begin(slot)
        return slot

    def add(self, address: Operand) -> None:
        """Put it to the values of its interval."""
        b = self.gen.b
        old, same, done = (b.new_block(name) for name in ("old", "same", "noted"))
        b.branch("eq", self._load(address, "epoch"), self.epoch, same, old)
        self.gen.land(old)
        self.begin(address)
        b.jump(done)
        self.gen.land(same)
        kept = self._load(address, "value")
        if self.way in ("sum", "avg"):
            self._store(address, value=b.emit("add", kept, self.value))
            self._store(address, count=b.emit("add", self._load(address, "count"), 1))
        elif self.way in ("min", "max"):
            cond = ("s" if self.kind.signed else "u") + ("lt" if self.way == "min" else "gt")
            with when(b, cond, self.value, kept, "beyond"):
                self._store(address, value=self.value)
        else:
            self._store(address, value=self.value, time=self.time)
        b.jump(done)
        self.gen.land(done)


def note(gen: Gen, found: ScriptMap, node: tree.Map | tree.MapAccess, value: Operand) -> None:
    """Put a value to the interval that it comes in."""
    assert isinstance(found.value, Aggregate)
    noted = _Noted(gen, found.value, value)
    if found.key is not None:
        entry_changed(gen, found, numbered_key(gen, found, node, noted.place), noted.add, noted.first)
        return
    pointer = gen.b.emit("lookup", noted.place, map=gen.use_map(found))
    with when(gen.b, "ne", pointer, 0, "interval"):
        noted.add(pointer)
