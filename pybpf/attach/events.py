"""The counters and clocks that perf events can sample, by the names that perf and bpftrace use."""

from __future__ import annotations

from collections.abc import Iterator

from pybpf.errors import NotFoundError, PackError
from pybpf.lazy import regex
from pybpf.record import NamedTuple
from pybpf.sys.near import did_you_mean
from pybpf.sys.perf import PerfType, Software

__all__ = ["HARDWARE", "SOFTWARE", "PerfEvent", "event_names", "find_event"]


class PerfEvent(NamedTuple):
    """What is counted: ``type`` and ``config`` of ``struct perf_event_attr``."""

    name: str
    type: int
    config: int


#: ``enum perf_hw_id``
HARDWARE = (
    ("cpu-cycles", "cycles"),
    ("instructions",),
    ("cache-references",),
    ("cache-misses",),
    ("branch-instructions", "branches"),
    ("branch-misses",),
    ("bus-cycles",),
    ("stalled-cycles-frontend", "frontend-stalls"),
    ("stalled-cycles-backend", "backend-stalls"),
    ("ref-cycles",),
)
#: ``enum perf_sw_ids`` with perf's short names
SOFTWARE = {
    Software.CPU_CLOCK: ("cpu-clock", "cpu"),
    Software.TASK_CLOCK: ("task-clock",),
    Software.PAGE_FAULTS: ("page-faults", "faults"),
    Software.CONTEXT_SWITCHES: ("context-switches", "cs"),
    Software.CPU_MIGRATIONS: ("cpu-migrations", "migrations"),
    Software.PAGE_FAULTS_MIN: ("minor-faults",),
    Software.PAGE_FAULTS_MAJ: ("major-faults",),
    Software.ALIGNMENT_FAULTS: ("alignment-faults",),
    Software.EMULATION_FAULTS: ("emulation-faults",),
    Software.DUMMY: ("dummy",),
    Software.BPF_OUTPUT: ("bpf-output",),
    Software.CGROUP_SWITCHES: ("cgroup-switches",),
}
# enum perf_hw_cache_id, _op_id and _op_result_id: config is cache | operation << 8 | result << 16
_CACHES = ("L1-dcache", "L1-icache", "LLC", "dTLB", "iTLB", "branch", "node")
_OPERATIONS = ("load", "store", "prefetch")
_RESULTS = ("s", "-misses")
_RAW = regex(r"r([0-9a-fA-F]{1,16})")


def _named() -> Iterator[PerfEvent]:
    for clock, names in SOFTWARE.items():
        yield from (PerfEvent(name, PerfType.SOFTWARE, clock) for name in names)
    for number, hardware in enumerate(HARDWARE):
        yield from (PerfEvent(name, PerfType.HARDWARE, number) for name in hardware)
    for cache, cache_name in enumerate(_CACHES):
        for operation, operation_name in enumerate(_OPERATIONS):
            for result, result_name in enumerate(_RESULTS):
                plural = "es" if operation_name == "prefetch" and result_name == "s" else result_name
                config = cache | operation << 8 | result << 16
                yield PerfEvent(f"{cache_name}-{operation_name}{plural}", PerfType.HW_CACHE, config)


_EVENTS = {event.name: event for event in _named()}


def event_names() -> list[str]:
    """Every name that :func:`find_event` knows; whether the processor counts it is another question."""
    return list(_EVENTS)


def find_event(name: str) -> PerfEvent:
    """The event of a name: ``"cpu-clock"``, ``"cpu-cycles"``, ``"L1-dcache-load-misses"``, or ``"r1a2"``: the raw code
    of the processor's manual in hexadecimal.

    :raises NotFoundError: there is none.
    :raises PackError: the name is no text.
    """
    if not isinstance(name, str):
        raise PackError(f"a perf event is named by text such as 'page-faults', not {name!r:.60}")
    found = _EVENTS.get(name)
    if found:
        return found
    raw = _RAW.fullmatch(name)
    if raw:
        return PerfEvent(name, PerfType.RAW, int(raw[1], 16))
    raise NotFoundError(f"there is no perf event {name!r}{did_you_mean(name, _EVENTS)}")
