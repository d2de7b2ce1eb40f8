"""What probes could not do, counted: one map per tracer with a number for each of its maps and event streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType
from pybpf.types import array_of, u32, u64

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.values.emitter import Emitter
    from pybpf.maps import Map

__all__ = ["Counter", "Counts", "element_address", "global_address"]


class Counts:
    """The counters of a tracer: one array map with a single value, whose address programs know.

    :ivar name: the map's name.
    """

    def __init__(self, name: str = "tracer_counts") -> None:
        self.name = name
        self._size = 0
        self._map: Any = None
        self._last: tuple[int, ...] = ()
        self._skipped: Counter | None = None
        self._cut: Counter | None = None

    def counter(self) -> Counter:
        """Another counter."""
        self._size += 1
        return Counter(self, self._size - 1)

    @property
    def skipped(self) -> Counter:
        """Counts runs of probes that ended at once, because all memory for large values was taken."""
        if self._skipped is None:
            self._skipped = self.counter()
        return self._skipped

    @property
    def cut(self) -> Counter:
        """Counts ``while`` loops that ended because the kernel grants no more turns."""
        if self._cut is None:
            self._cut = self.counter()
        return self._cut

    @property
    def spec(self) -> MapSpec:
        """The map; ask when all counters have been made."""
        return MapSpec(MapType.ARRAY, u32, array_of(u64, max(self._size, 1)), 1, self.name, typed=False)

    def bind(self, loaded: Map) -> None:
        """The map has been created."""
        self._map = loaded

    def close(self) -> None:
        """The map is going to be closed: counters keep what they stand at."""
        self._last, self._map = self._values(), None

    def read(self, index: int) -> int:
        """What a counter stands at; 0 before there is a map."""
        values = self._values()
        return values[index] if index < len(values) else 0

    def _values(self) -> tuple[int, ...]:
        values: tuple[int, ...] = self._last if self._map is None else self._map[0]
        return values


class Counter:
    """One number that probes count up."""

    def __init__(self, counts: Counts, index: int) -> None:
        self.counts = counts
        self.index = index

    @property
    def value(self) -> int:
        """What it stands at."""
        return self.counts.read(self.index)

    def bump(self, gen: Emitter) -> None:
        """Add one to it, atomically."""
        address = global_address(gen, gen.use_map(self.counts))
        gen.b.emit("atomic", address, 1, kind="add", offset=8 * self.index, size=8)


def global_address(gen: Emitter, name: str) -> Operand:
    """The address of the only value of an array map; a kernel that does not tell it looks it up."""
    if gen.target.has("map_value"):
        return gen.b.emit("mapvalue", map=name, offset=0)
    return element_address(gen, name)


def element_address(gen: Emitter, name: str, index: int = 0) -> Operand:
    """The address of an element of an array map by a lookup, which finds it; the verifier wants to see a check.

    Where the lookup fails, which it does not, the function ends; but not while it may hold a record of a ring buffer,
    which the verifier would miss: then it goes on with memory of its own.
    """
    from pybpf.lang.values import raw  # what only reads counters needs no compiler
    from pybpf.lang.values.flow import Choice

    b = gen.b
    address = Choice(b, b.emit("lookup", index, map=name))
    absent, there = b.new_block("absent"), b.new_block("there")
    b.branch("eq", address.value, 0, absent, there)
    b.seal(absent)
    b.start(absent)
    if gen.reserves:
        size = gen.unit.maps[name].value_size
        address.set(b.slot(size, "absent"))
        raw.clear(gen, address.value, 0, size)
        b.jump(there)
    else:
        gen.abandon()
        b.ret(0)
    b.seal(there)
    b.start(there)
    return address.value
