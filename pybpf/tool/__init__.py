"""What the bundled tracers share: how a tool is declared, its options, how it runs, prints and ends."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.tool.allocators import THREAD_ENDS, Allocators
    from pybpf.tool.c.bodies import Body
    from pybpf.tool.c.formats import Format, parse_format
    from pybpf.tool.c.specs import Place, Spec, balanced, split
    from pybpf.tool.c.types import ctype
    from pybpf.tool.clock import Clock
    from pybpf.tool.columns import Column, Rows
    from pybpf.tool.declare import TOPICS, Tool, option
    from pybpf.tool.distributions import UNITS, TimeReport
    from pybpf.tool.functions import Functions
    from pybpf.tool.heatmaps import HeatMaps
    from pybpf.tool.leaks import LeakReport, Left
    from pybpf.tool.mappings import Mappings
    from pybpf.tool.options import shared
    from pybpf.tool.output import Output, clean, width
    from pybpf.tool.patterns import Glob
    from pybpf.tool.pictures import Pictures, frame_text, frames_of, symbols_of
    from pybpf.tool.places import FirstOf
    from pybpf.tool.run import Run, require
    from pybpf.tool.scheduling import undisturbed
    from pybpf.tool.stacks import (
        SECONDS,
        STACK_OPTIONS,
        StackKey,
        StackKeys,
        StackReport,
        StackStyle,
        check_stacks,
        stack_title,
    )
    from pybpf.tool.structs import struct
    from pybpf.tool.syscalls import SyscallProbes
    from pybpf.tool.tasks import RECORD_STATES, task_state
    from pybpf.tool.timeline import Moment

__all__ = [
    "RECORD_STATES",
    "SECONDS",
    "STACK_OPTIONS",
    "THREAD_ENDS",
    "TOPICS",
    "UNITS",
    "Allocators",
    "Body",
    "Clock",
    "Column",
    "FirstOf",
    "Format",
    "Functions",
    "Glob",
    "HeatMaps",
    "LeakReport",
    "Left",
    "Mappings",
    "Moment",
    "Output",
    "Pictures",
    "Place",
    "Rows",
    "Run",
    "Spec",
    "StackKey",
    "StackKeys",
    "StackReport",
    "StackStyle",
    "SyscallProbes",
    "TimeReport",
    "Tool",
    "arguments",
    "balanced",
    "check_stacks",
    "clean",
    "ctype",
    "frame_text",
    "frames_of",
    "option",
    "parse_format",
    "require",
    "shared",
    "split",
    "stack_title",
    "struct",
    "symbols_of",
    "task_state",
    "undisturbed",
    "width",
]

__getattr__ = lazy_names(
    __name__,
    {
        "allocators": "THREAD_ENDS Allocators",
        "c.bodies": "Body",
        "c.formats": "Format parse_format",
        "c.specs": "Place Spec balanced split",
        "c.types": "ctype",
        "clock": "Clock",
        "columns": "Column Rows",
        "declare": "TOPICS Tool option",
        "distributions": "UNITS TimeReport",
        "functions": "Functions",
        "heatmaps": "HeatMaps",
        "leaks": "LeakReport Left",
        "mappings": "Mappings",
        "options": "shared",
        "output": "Output clean width",
        "patterns": "Glob",
        "pictures": "Pictures frame_text frames_of symbols_of",
        "places": "FirstOf",
        "run": "Run require",
        "scheduling": "undisturbed",
        "stacks": "SECONDS STACK_OPTIONS StackKey StackKeys StackReport StackStyle check_stacks stack_title",
        "structs": "struct",
        "syscalls": "SyscallProbes",
        "tasks": "RECORD_STATES task_state",
        "timeline": "Moment",
    },
)
