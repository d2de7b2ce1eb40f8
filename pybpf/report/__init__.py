"""What people look at: text that is safe for a terminal, tables, histograms and other aggregates."""

from pybpf.report.histogram import Histogram, LinearHistogram, Log2Histogram
from pybpf.report.keyed import in_order, key_text, keyed
from pybpf.report.stats import Stats
from pybpf.report.table import table
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
