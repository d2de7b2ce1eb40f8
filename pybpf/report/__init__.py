"""What people look at: text that is safe for a terminal, tables, JSON."""

from pybpf.report.text import printable

__all__ = ["printable"]
