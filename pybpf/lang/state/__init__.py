"""What a tracer keeps: maps, aggregates, streams of events; in a probe, and as Python sees them."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.lang.state.aggregates import HistogramMap, Tally
    from pybpf.lang.state.specials import ArrayOfMaps, Bloom, HashOfMaps, Jumps, PerfCounter, TaskStorage

__all__ = [
    "ArrayOfMaps",
    "Bloom",
    "HashOfMaps",
    "HistogramMap",
    "Jumps",
    "PerfCounter",
    "Tally",
    "TaskStorage",
]

#: what only some tracers have
__getattr__ = lazy_names(
    __name__,
    {
        "aggregates": "HistogramMap Tally",
        "specials": "ArrayOfMaps Bloom HashOfMaps Jumps PerfCounter TaskStorage",
    },
)
