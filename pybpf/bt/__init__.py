"""The bpftrace language: scripts are compiled by pybpf's own compiler, without LLVM and headers, and run."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.bt.api import run
    from pybpf.bt.compile import compile_script
    from pybpf.bt.runtime.running import Running
    from pybpf.bt.state.script import CompiledScript
    from pybpf.bt.syntax.parse import parse, parse_expression
    from pybpf.bt.syntax.source import Source, diagnostic

__all__ = ["CompiledScript", "Running", "Source", "compile_script", "diagnostic", "parse", "parse_expression", "run"]

__getattr__ = lazy_names(
    __name__,
    {
        "api": "run",
        "compile": "compile_script",
        "runtime.running": "Running",
        "state.script": "CompiledScript",
        "syntax.parse": "parse parse_expression",
        "syntax.source": "Source diagnostic",
    },
)
