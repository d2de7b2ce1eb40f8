"""The rules of docs/language.md for structs, arrays, text and maps, a second time: what the model's names stand for."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

from pybpf.lang.state.maps import Array, Hash, Queue, TracerMap, Variable
from pybpf.types import StructLayout, bool_, layout
from pybpf.types.layout import BoolLayout, CharsLayout, IntLayout
from tests.lang.model import Num, parts
from tests.lang.world import ARRAYS, MAPS, STRUCTS

__all__ = ["Memory"]


def zero(kind: Any) -> Any:
    """The value of memory that is all zeros."""
    found = layout(kind)
    if isinstance(found, (IntLayout, BoolLayout)):
        return Num(0, "bool" if kind is bool_ else kind.__name__)
    if isinstance(found, CharsLayout):
        return ""
    return Record(kind) if isinstance(found, StructLayout) else Row(kind)


def put(place: Any, value: Any, kind: Any) -> Any:
    """What a place of a type holds after an assignment: integers and text anew, everything else changes in place."""
    if isinstance(place, Num):
        return Num(parts(value)[0], place.kind)
    if isinstance(place, str):
        return value[: layout(kind).size]
    place.assign(value)
    return place


class Record:
    """A struct."""

    def __init__(self, kind: Any, *args: Any, **named: Any) -> None:
        fields = layout(kind).fields  # type: ignore[attr-defined]
        self.__dict__["_kinds"] = {name: field.kind for name, field in fields.items()}
        self.__dict__.update({name: zero(field.kind) for name, field in fields.items()})
        for name, value in (*zip(fields, args), *named.items()):
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self._kinds[name]
        self.__dict__[name] = put(getattr(self, name), value, kind)

    def _items(self) -> list[Any]:
        return [getattr(self, name) for name in self._kinds]

    def assign(self, value: Any) -> None:
        """Take over all fields, of a struct or a tuple."""
        items = value._items() if isinstance(value, Record) else value
        for name, item in zip(self._kinds, deepcopy(items)):
            setattr(self, name, item)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and plain(self) == plain(other)

    __hash__ = None  # type: ignore[assignment]


class Row:
    """An array of anything but text."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind.element
        self._items = [zero(kind.element) for _ in range(kind.length)]

    def _index(self, index: Any) -> int | None:
        """Where an element is; None: nowhere."""
        if not isinstance(index, Num):  # a constant, from the end where it is negative
            return range(len(self._items))[index]
        return index.value if 0 <= index.value < len(self._items) else None

    def __getitem__(self, index: Any) -> Any:
        at = self._index(index)
        return zero(self._kind) if at is None else self._items[at]

    def __setitem__(self, index: Any, value: Any) -> None:
        at = self._index(index)
        if at is not None:
            self._items[at] = put(self._items[at], value, self._kind)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def assign(self, value: Any) -> None:
        """Take over all elements, of an array, a tuple or bytes."""
        for index, item in enumerate(deepcopy(list(value))):
            self[index] = item

    def __eq__(self, other: object) -> bool:
        return plain(self) == (other if isinstance(other, bytes) else plain(other))

    __hash__ = None  # type: ignore[assignment]


def plain(value: Any) -> Any:
    """A value as maps give it to Python, structs as tuples."""
    if isinstance(value, Record):
        return tuple(plain(each) for each in value._items())
    if isinstance(value, Row):
        items = tuple(plain(each) for each in value)
        return bytes(items) if getattr(value._kind, "__name__", "") == "u8" else items
    return value.value if isinstance(value, Num) else value


class _Table:
    """A hash table: packed key -> value.

    :ivar content: what Python finds in the map.
    """

    def __init__(self, made: TracerMap) -> None:
        self._key, self._kind = made.spec.key, made.spec.value
        self._integers = isinstance(zero(self._kind), Num)
        self._values: dict[bytes, Any] = {}

    @property
    def content(self) -> dict[bytes, bytes]:
        return {key: layout(self._kind).pack(plain(value)) for key, value in self._values.items()}

    def _at(self, key: Any) -> bytes:
        return layout(self._key).pack(plain(self._made(key, self._key)))

    def _made(self, value: Any, kind: Any) -> Any:
        return put(zero(kind), value, kind)

    def __getitem__(self, key: Any) -> Any:
        return self._values.get(self._at(key), zero(self._kind) if self._integers else None)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[self._at(key)] = self._made(value, self._kind)

    def __delitem__(self, key: Any) -> None:
        self._values.pop(self._at(key), None)

    def __contains__(self, key: Any) -> bool:
        return self._at(key) in self._values

    def get(self, key: Any, default: Any = None) -> Any:
        return self._values.get(self._at(key), default if default is None else self._made(default, self._kind))

    def pop(self, key: Any, default: Any = None) -> Any:
        return self._values.pop(self._at(key), default if default is None else self._made(default, self._kind))

    def setdefault(self, key: Any, default: Any) -> Any:
        return self._values.setdefault(self._at(key), self._made(default, self._kind))


class _Cells(_Table):
    """An array map: outside of it there is nothing."""

    def __init__(self, made: TracerMap) -> None:
        super().__init__(made)
        self._values = {layout(self._key).pack(index): zero(self._kind) for index in range(made.spec.max_entries)}

    def _at(self, key: Any) -> bytes:
        return parts(key)[0].to_bytes(16, "little", signed=True)[: 4 if 0 <= parts(key)[0] < 1 << 32 else 16]

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self:
            super().__setitem__(key, value)


class _Value:
    """A variable: ``x.value``."""

    def __init__(self, made: Variable) -> None:
        self._kind = made.spec.value
        self.__dict__["value"] = zero(self._kind)

    @property
    def content(self) -> dict[bytes, bytes]:
        return {bytes(4): layout(self._kind).pack(plain(self.value))}

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = put(self.value, value, self._kind) if name == "value" else value


class _Line:
    """A queue or a stack."""

    def __init__(self, made: TracerMap) -> None:
        self._kind = made.spec.value
        self._next = 0 if type(made) is Queue else -1
        self._room = made.spec.max_entries
        self._values: list[Any] = []

    @property
    def content(self) -> list[bytes]:
        values = self._values if self._next == 0 else self._values[::-1]
        return [layout(self._kind).pack(plain(value)) for value in values]

    def push(self, value: Any) -> None:
        if len(self._values) < self._room:  # what finds it full is dropped
            self._values.append(put(zero(self._kind), value, self._kind))

    def pop(self) -> Any:
        return self._values.pop(self._next) if self._values else None

    def peek(self) -> Any:
        return deepcopy(self._values[self._next]) if self._values else None


class Memory:
    """The names of :mod:`tests.lang.world` in the model, with what the maps hold.

    :ivar names: what the text of a function finds.
    """

    def __init__(self) -> None:
        kinds = {Array: _Cells, Hash: _Table, Variable: _Value}
        self._maps: dict[str, Any] = {name: kinds.get(type(made), _Line)(made) for name, made in MAPS.items()}
        self.names: dict[str, Any] = {
            **self._maps,
            **{name: partial(Record, kind) for name, kind in STRUCTS.items()},
            "declared": self._declared, "changed": self._changed,
            "len": lambda value: Num(len(value), "u32"),
            "bool": lambda value: Num(bool(value), "bool"),
        }  # fmt: skip

    def content(self, name: str) -> Any:
        """What a map holds: packed keys to packed values; of a queue or stack the packed values."""
        return self._maps[name].content

    @staticmethod
    def _declared(kind: str, value: Any = None) -> Any:
        made = zero(ARRAYS.get(kind) or STRUCTS[kind])
        return made if value is None else put(made, value, ARRAYS.get(kind) or STRUCTS[kind])

    @staticmethod
    def _changed(kind: str, place: Any, value: Any) -> Any:
        return put(place, value, ARRAYS.get(kind) or STRUCTS[kind])
