"""The stacks that probes took, as Python has them: a map of the kernel's, and names for the addresses in it."""

from __future__ import annotations

from sys import byteorder
from time import monotonic
from typing import TYPE_CHECKING, Any

from pybpf.errors import ClosedError
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType
from pybpf.types import array_of, layout, u32, u64

if TYPE_CHECKING:
    from pybpf.maps import StackTrace
    from pybpf.symbols import Symbolizer

__all__ = ["DEPTH", "MOST_STACKS", "Stacks"]

#: how many frames the kernel keeps where sysctl kernel.perf_event_max_stack was not changed
DEPTH = 127
#: how many stacks a tracer keeps, where it does not say so
MOST_STACKS = 8192
#: processes are looked at again after so long; so many are remembered
_SEEN_SECONDS, _MOST_SEEN = 1.0, 4096
#: the kernel fills records of perf buffers up to multiples of that
_UNIT = 8


class Stacks:
    """The stacks that the probes of one tracer took: their map, and names for the addresses in them.

    :ivar spec: the map, which the program refers to by a stack's id.
    :ivar map: the map in the kernel, once there is one.
    """

    def __init__(self, most: int = MOST_STACKS, depth: int = DEPTH) -> None:
        self.spec = MapSpec(MapType.STACK_TRACE, u32, array_of(u64, depth), most, "tracer_stacks")
        self.map: StackTrace | None = None
        self._names: Symbolizer | None = None
        self._seen: dict[int, float] = {}

    def saw(self, pid: int) -> None:
        """A process was there a moment ago: remember what it has mapped, for when it has ended."""
        now = monotonic()
        if self._seen.get(pid, 0.0) > now - _SEEN_SECONDS:
            return
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[pid] = now
        self.names.watch(pid)

    def reader_of(self, kind: Any) -> Any:
        """What makes events of a type: the type itself, or where it has addresses of processes, a function of the bytes
        that looks at the processes at once."""
        from pybpf.lang.builtins.stacks import bound, processes_in  # which knows this file

        typed = bound(kind, self)
        places = list(processes_in(typed))
        if not places:
            return typed
        made = layout(typed)

        def read(data: bytes) -> Any:
            padded = 0 <= len(data) - made.size < _UNIT
            event = made.unpack(data[: made.size] if padded else data)
            for offset in places:
                pid = int.from_bytes(data[offset : offset + 4], byteorder)
                if pid:
                    self.saw(pid)
            return event

        return read

    def addresses(self, number: int) -> tuple[int, ...]:
        """The frames of a stack, innermost first. :raises ClosedError: the tracer is not loaded, or closed."""
        if self.map is None:
            raise ClosedError("cannot read a stack: its tracer has not been loaded, or is closed")
        found: tuple[int, ...] = self.map.get(number, ()) if number >= 0 else ()
        return found

    def bind(self, loaded: Any) -> None:
        """The map has been created."""
        self.map = loaded

    def close(self) -> None:
        """The map is going to be closed."""
        self.map = None

    @property
    def names(self) -> Symbolizer:
        """What knows the names of addresses."""
        if self._names is None:
            from pybpf.symbols import Symbolizer

            self._names = Symbolizer()
        return self._names
