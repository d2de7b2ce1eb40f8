"""What programs ask user space to do: one numbered record for each place in the script that prints, clears, exits."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from pybpf.bt.types import Type
from pybpf.errors import PackError
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.output import Events
from pybpf.record import NamedTuple, dataclass
from pybpf.types import Struct, layout, u32
from pybpf.types.scalars import ElementType

__all__ = ["Action", "Actions", "Asked"]

#: bytes: no record is larger
_MOST_SIZE = 1 << 16


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


class _Row(NamedTuple):
    action: Action
    record: Any  #: a Struct: the number of the action, then the values


class Actions:
    """The actions of a script. The same action has the same number, wherever it stands.

    :ivar events: what their records are sent through: one buffer, so that they stay in order.
    """

    def __init__(self, counts: Counts, pages: int) -> None:
        self._rows: list[_Row] = []
        self._numbers: dict[Action, int] = {}
        self.events: Events[Any] = Events(Struct, counts, pages, "AT_events")
        self.events.kind = self.read  # type: ignore[assignment]  # a reader takes a function of the bytes, too

    def number(self, action: Action) -> int:
        """The number of an action."""
        found = self._numbers.get(action)
        if found is None:
            fields = {"action": u32, **{f"value{index}": kind.kind for index, kind in enumerate(action.fields)}}
            record = ElementType("Asked", (Struct,), {"__annotations__": fields, "__module__": __name__})
            found = self._numbers[action] = len(self._rows)
            self._rows.append(_Row(action, record))
        return found

    def record(self, number: int) -> Any:
        """The type of the records of an action: the Struct of its number and values."""
        return self._rows[number].record

    def read(self, data: bytes) -> Asked:
        """What a record asks for. :raises PackError: it is none of these."""
        number = struct.unpack_from("=I", data)[0] if len(data) >= 4 else len(self._rows)
        if number >= len(self._rows):
            raise PackError(f"an event of {len(data)} bytes has no known meaning")
        row = self._rows[number]
        _, *values = layout(row.record).unpack(data)
        return Asked(row.action, values)

    def read_run(self, data: bytes) -> Iterator[Asked]:
        """What records ask for that lie one behind the other. :raises PackError: one of them is none."""
        at = 0
        while at < len(data):
            asked = self.read(data[at : at + _MOST_SIZE])
            yield asked
            at += layout(self._rows[self._numbers[asked.action]].record).size
