"""What people look at: text that is safe for a terminal, tables, histograms and other aggregates."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.report.histogram import Histogram, LinearHistogram, Log2Histogram
    from pybpf.report.maps import in_order, key_text, keyed
    from pybpf.report.stats import Stats
    from pybpf.report.tables import table
    from pybpf.report.text import printable

__all__ = [
    "Histogram",
    "LinearHistogram",
    "Log2Histogram",
    "Stats",
    "in_order",
    "key_text",
    "keyed",
    "printable",
    "table",
]

__getattr__ = lazy_names(
    __name__,
    {
        "histogram": "Histogram LinearHistogram Log2Histogram",
        "maps": "in_order key_text keyed",
        "stats": "Stats",
        "tables": "table",
        "text": "printable",
    },
)
