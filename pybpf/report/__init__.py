"""What people look at: text that is safe for a terminal, tables."""

from pybpf.report.table import table
from pybpf.report.text import printable

__all__ = ["printable", "table"]
