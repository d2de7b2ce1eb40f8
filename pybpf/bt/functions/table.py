"""The one table of builtins and functions, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pybpf.bt.functions import (
    aggregates,
    context,
    meta,
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

_MODULES = (process, tasks, context, output, aggregates, text, values, symbols, stacks, network, meta)

#: Name -> row.
FUNCTIONS: Mapping[str, Function] = MappingProxyType({row.name: row for module in _MODULES for row in module.ROWS})
#: Name -> row of what is called as ``value.name(arguments)``; the value is the first argument.
METHODS: Mapping[str, Function] = MappingProxyType({row.name: row for row in text.METHODS})
#: Name -> why it is not to be had.
REFUSED: Mapping[str, str] = MappingProxyType({})
