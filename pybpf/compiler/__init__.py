"""The compiler: typed IR, passes, register allocation, emission; shared by the Python DSL and the bpftrace language."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.compiler.compiled import Compiled
    from pybpf.compiler.pipeline import compile_unit
    from pybpf.compiler.target import Target

__all__ = ["Compiled", "Target", "compile_unit"]

__getattr__ = lazy_names(__name__, {"compiled": "Compiled", "pipeline": "compile_unit", "target": "Target"})
