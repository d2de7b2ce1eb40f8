"""From runs of records to events: one ``iter_unpack`` over each run, and no Python code per record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from struct import Struct as Format
from typing import Any, Generic, NoReturn, TypeVar

from pybpf.errors import PackError
from pybpf.maps.runs import Run, stride
from pybpf.types import layout

__all__ = ["Decoder"]

T = TypeVar("T")


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

    def __call__(self, data: bytes, runs: Sequence[Run]) -> Iterator[T]:
        """The events of ``runs`` in ``data``, made when asked for.

        A record of the wrong size, or one for which the function raises, raises in its turn and is skipped: the
        next call of the iterator gives the event behind it.
        """
        whole = self._size is not None
        skip = self._skip
        parts: list[Iterator[T]] = []
        single: list[bytes] = []  # records between runs: their data or, where it is unpacked, header and all
        single_size = -1
        for offset, count, size in runs:
            if count > 1 or (whole and size != single_size):
                if single:
                    parts.append(self._singles(single, single_size))
                    single = []
                single_size = size
            if count > 1:
                parts.append(self._run(memoryview(data)[offset:], count, size))
            elif whole:
                single.append(data[offset : offset + stride(skip, size)])
            else:
                start = offset + skip
                single.append(data[start : start + size])
        if single:
            parts.append(self._singles(single, single_size))
        return parts[0] if len(parts) == 1 else chain.from_iterable(parts)

    def _singles(self, records: list[bytes], size: int) -> Iterator[T]:
        if self._size is not None:
            return self._run(memoryview(b"".join(records)), len(records), size)
        data: Iterator[Any] = iter(records)
        return data if self._make is None else map(self._make, data)

    def _run(self, data: memoryview, count: int, size: int) -> Iterator[T]:
        if self._size is None:
            codes = f"{size}s"
        elif self._size == size:
            codes = self._codes
        else:
            return map(self._refuse, repeat(size, count))
        record = _format(self._skip, codes, size)
        items: Iterator[Any] = record.iter_unpack(data[: count * record.size])
        if self._size is None:
            items = chain.from_iterable(items)
        return items if self._make is None else map(self._make, items)

    def _refuse(self, size: int) -> NoReturn:
        raise PackError(
            f"cannot read an event as {self._layout}, which has {self._layout.size} bytes: the program sent {size}"
        )
