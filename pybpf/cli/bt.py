"""``pybpf bt``: the command line is in pybpf.bt.command."""

from __future__ import annotations

from pybpf.bt.command.main import main

__all__ = ["main"]
