"""What people look at: text that is safe for a terminal, tables, aggregates, pictures."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.report.flamegraph import flame_graph
    from pybpf.report.folded import folded
    from pybpf.report.heatmap import HeatMap
    from pybpf.report.histogram import Histogram, LinearHistogram, Log2Histogram
    from pybpf.report.maps import in_order, key_text, keyed, one_value
    from pybpf.report.perfetto import TraceEvents
    from pybpf.report.pprof import pprof
    from pybpf.report.series import TimeSeries
    from pybpf.report.speedscope import speedscope
    from pybpf.report.stacks import Frame, StackCounts
    from pybpf.report.stats import Stats
    from pybpf.report.tables import table
    from pybpf.report.text import printable

__all__ = [
    "Frame",
    "HeatMap",
    "Histogram",
    "LinearHistogram",
    "Log2Histogram",
    "StackCounts",
    "Stats",
    "TimeSeries",
    "TraceEvents",
    "flame_graph",
    "folded",
    "in_order",
    "key_text",
    "keyed",
    "one_value",
    "pprof",
    "printable",
    "speedscope",
    "table",
]

__getattr__ = lazy_names(
    __name__,
    {
        "flamegraph": "flame_graph",
        "folded": "folded",
        "heatmap": "HeatMap",
        "histogram": "Histogram LinearHistogram Log2Histogram",
        "maps": "in_order key_text keyed one_value",
        "perfetto": "TraceEvents",
        "pprof": "pprof",
        "series": "TimeSeries",
        "speedscope": "speedscope",
        "stacks": "Frame StackCounts",
        "stats": "Stats",
        "tables": "table",
        "text": "printable",
    },
)
