"""QUEUE and STACK: values without keys, first in first out or last in first out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pybpf.maps.elements import MISSING, ElementMap
from pybpf.maps.spec import NO_FLAGS, MapSpec
from pybpf.sys.bpf import Cmd, MapFlags, MapType, UpdateFlags

__all__ = ["Queue", "Stack"]


class Queue(ElementMap):
    """First in, first out.

    :param value: type of the values.
    :param max_entries: how many values fit.
    :raises PackError: (by what takes a value) it does not fit the type.
    """

    map_type: ClassVar[MapType] = MapType.QUEUE
    _when_full = "raise max_entries, take values out, or push with overwrite=True"

    def __init__(
        self,
        value: Any,
        max_entries: int,
        *,
        name: str = "",
        flags: MapFlags = NO_FLAGS,
        numa_node: int | None = None,
    ) -> None:
        self._create(MapSpec(self.map_type, None, value, max_entries, name, flags, numa_node=numa_node))

    def push(self, value: Any, *, overwrite: bool = False) -> None:
        """Put a value in; when the map is full, ``overwrite`` drops the value that was put in first.

        :raises KernelError: it is full (E2BIG) and not ``overwrite``.
        """
        result = self._store(None, value, UpdateFlags.EXIST if overwrite else UpdateFlags.ANY)
        if result < 0:
            raise self._failed(f"push {value!r} to", -result)

    def pop(self, default: Any = MISSING) -> Any:
        """Take the next value out; ``default``, when given, if there is none.

        :raises IndexError: the map is empty and no ``default``.
        """
        return self._next(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, default)

    def peek(self, default: Any = MISSING) -> Any:
        """The value that :meth:`pop` would take, without taking it."""
        return self._next(Cmd.MAP_LOOKUP_ELEM, default)

    def drain(self) -> Iterator[Any]:
        """Take values out until none is left, at most ``max_entries``: ends even while programs push."""
        for _ in range(self.max_entries):
            value = self._find(cmd=Cmd.MAP_LOOKUP_AND_DELETE_ELEM)
            if value is MISSING:
                return
            yield value

    def _next(self, cmd: Cmd, default: Any) -> Any:
        value = self._find(cmd=cmd)
        if value is not MISSING:
            return value
        if default is MISSING:
            raise IndexError(f"{self.spec} is empty")
        return default


class Stack(Queue):
    """Last in, first out; otherwise as :class:`Queue`."""

    map_type: ClassVar[MapType] = MapType.STACK
