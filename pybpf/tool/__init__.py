"""What the bundled tracers share: how a tool is declared, its options, how it runs, prints and ends."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.tool.clock import Clock
    from pybpf.tool.columns import Column, Rows
    from pybpf.tool.declare import TOPICS, Tool, option
    from pybpf.tool.functions import Functions
    from pybpf.tool.options import shared
    from pybpf.tool.output import Output, clean, width
    from pybpf.tool.patterns import Glob
    from pybpf.tool.places import FirstOf
    from pybpf.tool.run import Run, require
    from pybpf.tool.scheduling import undisturbed
    from pybpf.tool.syscalls import SyscallProbes

__all__ = [
    "TOPICS",
    "Clock",
    "Column",
    "FirstOf",
    "Functions",
    "Glob",
    "Output",
    "Rows",
    "Run",
    "SyscallProbes",
    "Tool",
    "clean",
    "option",
    "require",
    "shared",
    "undisturbed",
    "width",
]

__getattr__ = lazy_names(
    __name__,
    {
        "clock": "Clock",
        "columns": "Column Rows",
        "declare": "TOPICS Tool option",
        "functions": "Functions",
        "options": "shared",
        "output": "Output clean width",
        "patterns": "Glob",
        "places": "FirstOf",
        "run": "Run require",
        "scheduling": "undisturbed",
        "syscalls": "SyscallProbes",
    },
)
