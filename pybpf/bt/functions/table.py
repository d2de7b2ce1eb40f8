"""The one table of builtins and functions, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pybpf.bt.functions import (
    aggregates,
    buffers,
    comparing,
    context,
    effects,
    files,
    host,
    meta,
    named,
    network,
    output,
    process,
    stacks,
    symbols,
    tasks,
    text,
    values,
)
from pybpf.bt.functions.function import Function

__all__ = ["FUNCTIONS", "METHODS", "REFUSED"]

_MODULES = (
    process, tasks, context, output, aggregates, text, comparing, buffers, values, symbols, stacks, network, named,
    host, effects, files, meta,
)  # fmt: skip

#: Name -> row.
FUNCTIONS: Mapping[str, Function] = MappingProxyType({row.name: row for module in _MODULES for row in module.ROWS})
#: Name -> row of what is called as ``value.name(arguments)``; the value is the first argument.
METHODS: Mapping[str, Function] = MappingProxyType({row.name: row for row in text.METHODS})
#: Name -> why it is not to be had.
REFUSED: Mapping[str, str] = MappingProxyType({
    "debugf": "it writes to the kernel's trace pipe, whoever reads that; write errorf() or printf()",
    "dw_ustack": "stacks are taken by frame pointers; write ustack()",
    "skboutput": "no capture files are written; print what is wanted of a packet by buf() or ntop()",
    "unwatch": "watchpoints stay until the script ends; let it end by exit()",
})  # fmt: skip
