"""The rarer maps of a tracer: sets that may err, values per task, maps of maps, programs to jump to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybpf.attach.events import find_event
from pybpf.errors import BpfError, DeclarationError
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.maps import ENTRIES, TracerMap, key_type, value_type
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType
from pybpf.sys.cpus import online_cpus
from pybpf.sys.explain import explaining
from pybpf.sys.perf import perf_event_open
from pybpf.types import Struct, s32, u32

if TYPE_CHECKING:
    from pybpf.maps import Map

__all__ = ["ArrayOfMaps", "Bloom", "HashOfMaps", "Jumps", "PerfCounter", "TaskStorage"]


_IN_A_PROBE = "{} works only in a probe, a function that a tracer's decorator compiles"


class _Special(TracerMap):
    _val_module = "special_entries"


class Bloom(_Special):
    """A set to which values are added and never removed (Linux 5.16): ``b.add(v)``, ``v in b``.

    ``in`` is always true for values that were added, and for a few others. In probes and in Python.
    """

    type = MapType.BLOOM_FILTER
    _val = "BloomVal"

    def __init__(self, value: Any, max_entries: int, counts: Counts, hashes: int = 5, name: str = "") -> None:
        super().__init__(MapSpec(self.type, None, value_type(value), max_entries, name, extra=hashes), counts)

    def add(self, value: Any) -> None:
        """Add a value."""
        self.map.add(value)

    def __contains__(self, value: Any) -> bool:
        return value in self.map


class TaskStorage(_Special):
    """A value per task, which goes when the task ends (Linux 5.11).

    In a probe, of the running task: ``s.current()`` gives it, a Struct that is zero at first (None where there is no
    memory for it), ``s.drop_current()`` takes it away.

    :param value: a Struct.
    """

    type = MapType.TASK_STORAGE
    _val = "TaskStorageVal"

    def __init__(self, value: Any, counts: Counts, name: str = "") -> None:
        if not (isinstance(value, type) and issubclass(value, Struct)):
            raise DeclarationError(f"a task storage keeps a Struct, not {value!r:.60}: class Mine(Struct): calls: u64")
        super().__init__(MapSpec(self.type, s32, value_type(value), 0, name), counts)

    def current(self) -> Any:
        """In a probe: the running task's value, zeros at first, or None. :raises BpfError: outside of one."""
        raise BpfError(_IN_A_PROBE.format("current() of a task storage"))

    def drop_current(self) -> None:
        """In a probe: take the running task's value away. :raises BpfError: outside of one."""
        raise BpfError(_IN_A_PROBE.format("drop_current() of a task storage"))

    def __getitem__(self, pidfd: Any) -> Any:
        """The value of a process by its pidfd. :raises KeyError: it has none."""
        return self.map[pidfd]

    def __delitem__(self, pidfd: Any) -> None:
        del self.map[pidfd]


class _OfMaps(_Special):
    _val = "OuterVal"

    def __getitem__(self, key: Any) -> Any:
        """In a probe: the map under a key, or None. :raises BpfError: outside of one, where you have the maps."""
        raise BpfError(_IN_A_PROBE.format("reading a map of maps"))

    get = __getitem__

    def __setitem__(self, key: Any, inner: Any) -> None:
        """Put a map in: one of :mod:`pybpf.maps`, or of a tracer."""
        self.map[key] = inner.map if isinstance(inner, TracerMap) else inner

    def __delitem__(self, key: Any) -> None:
        del self.map[key]


class HashOfMaps(_OfMaps):
    """A hash table of maps. In a probe ``inner = outer[k]``, which may be None, and then what the inner map can do.

    :param inner: what the inner maps look like: a map of a tracer, or a specification.
    """

    type = MapType.HASH_OF_MAPS

    def __init__(self, key: Any, inner: TracerMap | MapSpec, counts: Counts, max_entries: int = ENTRIES,
                 name: str = "") -> None:  # fmt: skip
        super().__init__(MapSpec(self.type, key_type(key), u32, max_entries, name, inner=_shape(inner)), counts)


class ArrayOfMaps(_OfMaps):
    """An array of maps; see :class:`HashOfMaps`."""

    type = MapType.ARRAY_OF_MAPS

    def __init__(self, inner: TracerMap | MapSpec, length: int, counts: Counts, name: str = "") -> None:
        super().__init__(MapSpec(self.type, u32, u32, length, name, inner=_shape(inner)), counts)


def _shape(inner: TracerMap | MapSpec) -> MapSpec:
    if not isinstance(inner, (TracerMap, MapSpec)):
        raise DeclarationError(f"a map of maps holds maps like one given, not {inner!r:.60}: hash_of_maps(u32, m)")
    spec = inner if isinstance(inner, MapSpec) else inner.spec
    if spec.key is None:
        raise DeclarationError(f"a map of maps holds hash tables or arrays, not a {spec}")
    return spec


class Jumps(_Special):
    """Programs to jump to: ``j.to(i)`` ends the probe and begins program ``i``; where there is none, it goes on.

    In Python ``j[i] = program``, of the same type as the probe, or the link of one: ``j[1] = tracer.links(then)[0]``.
    """

    type = MapType.PROG_ARRAY
    _val = "JumpsVal"

    def __init__(self, length: int, counts: Counts, name: str = "") -> None:
        super().__init__(MapSpec(self.type, u32, u32, length, name), counts)

    def to(self, index: int) -> None:
        """In a probe: go on in program ``index``, if there is one. :raises BpfError: outside of one."""
        raise BpfError(_IN_A_PROBE.format("to() of a table of programs"))

    def __setitem__(self, index: int, program: Any) -> None:
        self.map[index] = getattr(program, "program", program)

    def __delitem__(self, index: int) -> None:
        del self.map[index]


class PerfCounter(_Special):
    """How often a perf event has happened on each CPU since the tracer was attached.

    In a probe ``c.read()``: on its CPU; differences count what lies between two probes that run on one CPU.

    :param event: a name such as ``"page-faults"`` or ``"cpu-cycles"``; see :func:`pybpf.attach.find_event`.
    """

    type = MapType.PERF_EVENT_ARRAY
    _val = "PerfCounterVal"

    def __init__(self, event: str, counts: Counts, name: str = "") -> None:
        super().__init__(MapSpec(self.type, u32, u32, 0, name), counts)
        self._event = find_event(event)

    def bind(self, loaded: Map) -> None:
        """Count, on all CPUs. :raises UnsupportedError: this machine does not count such events."""
        super().bind(loaded)
        for cpu in online_cpus():
            what = f"count {self._event.name}"
            with explaining(what, "perf_event"):
                event = perf_event_open(cpu=cpu, what=what, type=self._event.type, config=self._event.config)
            with event:  # the map keeps it
                self.map[cpu] = event

    def read(self) -> int:
        """In a probe: the count on its CPU; 0 where it cannot be read. :raises BpfError: outside of one."""
        raise BpfError(_IN_A_PROBE.format("read() of a perf counter"))
