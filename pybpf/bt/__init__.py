"""The bpftrace language: scripts as trees, attach points, and the C definitions that a script may hold."""

from pybpf.bt.parse import parse, parse_expression
from pybpf.bt.source import Source, diagnostic

__all__ = ["Source", "diagnostic", "parse", "parse_expression"]
