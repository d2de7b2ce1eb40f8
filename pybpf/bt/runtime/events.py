"""What a running script tells: a class for each sort of event, typed; pybpf.bt.show makes text of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Union

from pybpf.bt.show.format import Format
from pybpf.bt.show.values import Names, plain
from pybpf.bt.types import Type
from pybpf.record import dataclass

if TYPE_CHECKING:
    from pybpf.bt.runtime.maps import RunningMap

__all__ = [
    "Event", "Exited", "Lost", "MapShown", "Printed", "PrintedRun", "Shown", "TextShown", "ValueShown", "Warned",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Printed:
    """``printf()``, ``errorf()`` or ``warnf()``, which ``name`` says.

    :ivar place: ``"FILE:LINE:COLUMN"`` of the call.
    """

    name: str
    format: Format
    kinds: Sequence[Type]
    raw: Sequence[Any]
    names: Names
    place: str

    @property
    def text(self) -> str:
        """What the format makes of the values."""
        return self.format.apply(self.kinds, self.raw, self.names)

    @property
    def values(self) -> tuple[Any, ...]:
        """The values, as Python's own."""
        return tuple(plain(kind, raw, self.names) for kind, raw in zip(self.kinds, self.raw))


@dataclass(frozen=True, eq=False)
class PrintedRun:
    """Many :class:`Printed` that one call made one behind the other: what is quicker together.

    :ivar columns: for each type of ``kinds``, the raw values of all.
    """

    name: str
    format: Format
    kinds: Sequence[Type]
    columns: Sequence[Sequence[Any]]
    records: int
    names: Names
    place: str

    @property
    def texts(self) -> Iterator[str]:
        """The text of each."""
        return self.format.texts(self.kinds, self.columns, self.records, self.names)

    def apart(self) -> Iterator[Printed]:
        """Each for itself."""
        for raw in zip(*self.columns) if self.columns else [()] * self.records:
            yield Printed(self.name, self.format, self.kinds, raw, self.names, self.place)


@dataclass(frozen=True, eq=False)
class ValueShown:
    """``print(value)``"""

    kind: Type
    raw: Any
    names: Names

    @property
    def value(self) -> Any:
        """The value, as Python's own."""
        return plain(self.kind, self.raw, self.names)


@dataclass(frozen=True, eq=False)
class MapShown:
    """``print(@map)``, or at the end of the script all maps.

    :ivar pairs: raw keys (None without keys) and values, in the order in which they are printed.
    """

    map: RunningMap
    pairs: Sequence[tuple[Any, Any]]
    divisor: int = 1

    @property
    def items(self) -> list[tuple[Any, Any]]:
        """The pairs, as Python's own."""
        return [self.map.plain_pair(key, value) for key, value in self.pairs]


@dataclass(frozen=True)
class TextShown:
    """``time()``, ``join()``, ``cat()``, ``system()``: text that was made in user space; ``name`` says which."""

    name: str
    text: str


@dataclass(frozen=True)
class Warned:
    """Something that went wrong in a probe, which went on; or, as ``severity`` says, ended the script."""

    message: str
    place: str
    severity: str = "WARNING"


@dataclass(frozen=True)
class Lost:
    """So many events found no room."""

    count: int


@dataclass(frozen=True)
class Exited:
    """``exit()`` was called: nothing follows but what ``end`` probes print."""

    code: int


Event = Union[Printed, ValueShown, MapShown, TextShown, Warned, Lost, Exited]
#: What is shown at once: an event, or many of a sort.
Shown = Union[Event, PrintedRun]
