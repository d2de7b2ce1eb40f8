"""What programs ask user space to do: one numbered record for each place in the script that prints, clears, exits."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from pybpf.bt.types import Type
from pybpf.errors import PackError
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.output import Events
from pybpf.record import NamedTuple, dataclass
from pybpf.types import Struct, layout, u32
from pybpf.types.layout import BytesLayout, CharsLayout, IntLayout
from pybpf.types.scalars import ElementType

__all__ = ["Action", "Actions", "Asked", "AskedRun"]

#: the number of its action, with which a record begins
_NUMBER = struct.Struct("=I")
_HEAD = itemgetter(slice(_NUMBER.size))
#: records of a run at most: what they become should stay in the processor's cache
_TOGETHER = 1 << 12
#: texts that are remembered of those that are short, for most come again: names of processes
_REMEMBERED, _SHORT = 4096, 64


@dataclass(frozen=True)
class Action:
    """Something to do, without the values that come with each record.

    :ivar name: a key of :data:`pybpf.bt.runtime.acting.ACTIONS`.
    :ivar fields: types of the values.
    :ivar options: what else is known when the script is compiled: a format, the name of a map.
    """

    name: str
    fields: tuple[Type, ...] = ()
    options: tuple[Any, ...] = ()


class Asked(NamedTuple):
    """A record that has arrived."""

    action: Action
    values: Sequence[Any]  #: as the ``kind`` of the fields' types has them


class AskedRun(NamedTuple):
    """Records of one action that have arrived one behind the other."""

    action: Action
    columns: Sequence[Sequence[Any]]  #: of each field, the values of all records
    records: int

    def apart(self) -> Iterator[Asked]:
        """The records, each for itself."""
        if not self.columns:
            return iter([Asked(self.action, ())] * self.records)
        return (Asked(self.action, values) for values in zip(*self.columns))


class _Row(NamedTuple):
    action: Action
    record: Any  #: a Struct: the number of the action, then the values
    size: int
    columns: Callable[[Sequence[Sequence[Any]]], list[Sequence[Any]]]
    """Of the items of the record's layout, the values of each field behind the number."""


class Actions:
    """The actions of a script. The same action has the same number, wherever it stands.

    :ivar events: what their records are sent through: one buffer, so that they stay in order.
    """

    def __init__(self, counts: Counts, pages: int) -> None:
        self._rows: list[_Row] = []
        self._numbers: dict[Action, int] = {}
        self.events: Events[Any] = Events(Struct, counts, pages, "AT_events")
        self.events.kind = bytes  # what the reader gives: :meth:`runs` makes more of many at once

    def __getstate__(self) -> tuple[Any, ...]:
        return self.events, [row.action for row in self._rows]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.events, actions = state
        self._rows, self._numbers = [], {}
        for action in actions:
            self.number(action)

    def number(self, action: Action) -> int:
        """The number of an action."""
        found = self._numbers.get(action)
        if found is None:
            fields = {"action": u32, **{f"value{index}": kind.kind for index, kind in enumerate(action.fields)}}
            record = ElementType("Asked", (Struct,), {"__annotations__": fields, "__module__": __name__})
            found = self._numbers[action] = len(self._rows)
            self._rows.append(_Row(action, record, layout(record).size, _columns(record)))
        return found

    def record(self, number: int) -> Any:
        """The type of the records of an action: the Struct of its number and values."""
        return self._rows[number].record

    def runs(self, records: Iterable[bytes]) -> Iterator[AskedRun]:
        """What records ask for, in order. :raises PackError: one of them asks for nothing that there is."""
        for head, same in groupby(records, _HEAD):
            found = list(same)
            for first in range(0, len(found), _TOGETHER):
                yield self._run(head, found[first : first + _TOGETHER])

    def _run(self, head: bytes, records: list[bytes]) -> AskedRun:
        size = len(records[0])
        number = _NUMBER.unpack(head)[0] if len(head) == _NUMBER.size else len(self._rows)
        if number >= len(self._rows) or size < self._rows[number].size or set(map(len, records)) != {size}:
            raise PackError(f"an event of {size} bytes has no known meaning")
        row = self._rows[number]
        items = zip(*_padded(layout(row.record).codes, size - row.size).iter_unpack(b"".join(records)))
        return AskedRun(row.action, row.columns(list(items)), len(records))

    def split(self, data: bytes) -> Iterator[bytes]:
        """Records that lie one behind the other. :raises PackError: one of them is none."""
        at = 0
        while at < len(data):
            head = data[at : at + _NUMBER.size]
            number = _NUMBER.unpack(head)[0] if len(head) == _NUMBER.size else len(self._rows)
            if number >= len(self._rows):
                raise PackError(f"an event of {len(data) - at} bytes has no known meaning")
            size = self._rows[number].size
            yield data[at : at + size]
            at += size


@lru_cache(maxsize=1024)
def _padded(codes: str, more: int) -> struct.Struct:
    """A record, and what the kernel has filled it up with."""
    return struct.Struct(f"={codes}{more}x")


def _columns(record: Any) -> Callable[[Sequence[Sequence[Any]]], list[Sequence[Any]]]:
    """What makes the values of the fields of a record, but for the first one, of the items of its layout."""
    made = [_column(field) for field in list(layout(record).fields.values())[1:]]  # type: ignore[attr-defined]
    return lambda items: [make(items) for make in made]


def _column(field: Any) -> Callable[[Sequence[Sequence[Any]]], Sequence[Any]]:
    first, how = field.item, field.layout
    if isinstance(how, (IntLayout, BytesLayout)):
        return lambda items: items[first]
    if isinstance(how, CharsLayout):
        read = _reader(how) if how.size > _SHORT else lru_cache(maxsize=_REMEMBERED)(_reader(how))
        return lambda items: list(map(read, items[first]))
    last, make = first + how.width, how.from_items
    return lambda items: list(map(make, zip(*items[first:last])))


def _reader(how: CharsLayout) -> Callable[[bytes], str]:
    return lambda raw: how.from_items((raw,))
