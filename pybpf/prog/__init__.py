"""Programs: from a spec, which is pure data, to an object of the kernel; and why the verifier refused one."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.prog.program import Program, Stats, TestRun
    from pybpf.prog.spec import ProgramSpec
    from pybpf.prog.stats import run_time_stats
    from pybpf.prog.verifier import Rejection, advice_for, read_log
    from pybpf.sys.bpf import AttachType, ProgFlags, ProgType
    from pybpf.sys.objects import ProgInfo

__all__ = [
    "AttachType",
    "ProgFlags",
    "ProgInfo",
    "ProgType",
    "Program",
    "ProgramSpec",
    "Rejection",
    "Stats",
    "TestRun",
    "advice_for",
    "read_log",
    "run_time_stats",
]

__getattr__ = lazy_names(
    __name__,
    {
        "program": "Program Stats TestRun",
        "spec": "ProgramSpec",
        "stats": "run_time_stats",
        "verifier": "Rejection advice_for read_log",
        "pybpf.sys.bpf": "AttachType ProgFlags ProgType",
        "pybpf.sys.objects": "ProgInfo",
    },
)
