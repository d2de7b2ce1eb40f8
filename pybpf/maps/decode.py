"""From runs of records to events: one ``iter_unpack`` over each run, and no Python code per record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import length_hint
from struct import Struct as Format
from typing import Any, Generic, NoReturn, TypeVar

from pybpf.errors import PackError
from pybpf.maps.runs import Run, stride
from pybpf.record import NamedTuple
from pybpf.types import layout

__all__ = ["NOTHING", "Batch", "Decoder", "counted"]

T = TypeVar("T")


class Batch(NamedTuple):
    """Events that were taken out of a ring, to be delivered one by one."""

    events: Iterator[Any]
    records: tuple[Iterator[Any], ...]  #: what they are made of: each advances with the events, and knows its length

    @property
    def left(self) -> int:
        """How many of them were not delivered yet."""
        return sum(map(length_hint, self.records))


NOTHING = Batch(iter(()), ())


def counted(data: bytes, runs: Sequence[Run]) -> Batch:
    """A batch of which only the number is wanted: nothing is made of the records of ``runs``."""
    return Batch(iter(()), (repeat(None, sum(count for _, count, _ in runs)),))


@lru_cache(maxsize=1024)
def _format(skip: int, codes: str, size: int) -> Format:
    """A record with ``skip`` bytes of header and ``size`` of data that starts with ``codes``."""
    used = skip + Format("=" + codes).size
    return Format(f"={skip}x{codes}{stride(skip, size) - used}x")


class Decoder(Generic[T]):
    """Makes events of the data of records.

    :param kind: a type of :mod:`pybpf.types`; or a function that is called with the bytes of each record; or None
        for the bytes themselves.
    :param skip: bytes of a record's header.
    :param unit: the kernel fills up header and data to a multiple of so many bytes and counts that as data.
    """

    def __init__(self, kind: type[T] | Callable[[bytes], T] | None, skip: int, unit: int = 1) -> None:
        self._kind: Any = kind
        self._skip = skip
        self._size: int | None = None
        self._codes = ""
        self._make: Callable[[Any], Any] | None = kind
        if hasattr(kind, "__layout__"):
            self._layout = layout(kind)
            self._codes = self._layout.codes
            self._size = self._layout.size + -(skip + self._layout.size) % unit
            self._make = self._layout.from_items

    def __call__(self, data: bytes, runs: Sequence[Run]) -> Batch:
        """The events of ``runs`` in ``data``, made when asked for.

        A record of the wrong size, or one for which the function raises, raises in its turn and is skipped: the
        next call of the iterator gives the event behind it.
        """
        whole = self._size is not None
        skip = self._skip
        parts: list[tuple[Iterator[T], Iterator[Any]]] = []
        single: list[bytes] = []  # records between runs: their data or, where it is unpacked, header and all
        single_size = -1
        for offset, count, size in runs:
            if count > 1 or (whole and size != single_size):
                if single:
                    parts.append(self._singles(single, single_size))
                    single = []
                single_size = size
            if count > 1:
                parts.append(self._run(data[offset : offset + count * stride(skip, size)], count, size))
            elif whole:
                single.append(data[offset : offset + stride(skip, size)])
            else:
                start = offset + skip
                single.append(data[start : start + size])
        if single:
            parts.append(self._singles(single, single_size))
        events = parts[0][0] if len(parts) == 1 else chain.from_iterable(part for part, _ in parts)
        return Batch(events, tuple(records for _, records in parts))

    def _singles(self, records: list[bytes], size: int) -> tuple[Iterator[T], Iterator[Any]]:
        if self._size is not None:
            return self._run(b"".join(records), len(records), size)
        data: Iterator[Any] = iter(records)
        return data if self._make is None else map(self._make, data), data

    def _run(self, data: bytes, count: int, size: int) -> tuple[Iterator[T], Iterator[Any]]:
        """The events of a run, and the iterator over records below them.

        :param data: the run's own bytes, not a view: CPython (3.9 to 3.12) crashes when it collects a cycle of garbage
            in which ``iter_unpack`` holds a memoryview.
        """
        if self._size is None:
            codes = f"{size}s"
        elif self._size == size:
            codes = self._codes
        else:
            sizes = repeat(size, count)
            return map(self._refuse, sizes), sizes
        record = _format(self._skip, codes, size)
        records: Iterator[Any] = record.iter_unpack(data)
        items = chain.from_iterable(records) if self._size is None else records
        return items if self._make is None else map(self._make, items), records

    def _refuse(self, size: int) -> NoReturn:
        raise PackError(
            f"cannot read an event as {self._layout}, which has {self._layout.size} bytes: the program sent {size}"
        )
