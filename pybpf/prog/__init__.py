"""Programs: from a spec, which is pure data, to an object of the kernel; and why the verifier refused one.

>>> from pybpf.asm import assemble
>>> from pybpf.prog import Program, ProgramSpec, ProgType
>>> spec = ProgramSpec(ProgType.SOCKET_FILTER, assemble("r0 = 7\\nexit"), "seven")
>>> with Program.load(spec) as program:
...     program.test_run(bytes(64)).retval
7

``docs/kernel-layer.md`` has whole programs.
"""

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
