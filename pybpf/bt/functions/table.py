"""The one table of builtins and functions, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pybpf.bt.functions import aggregates, context, output, process, stacks, symbols, text
from pybpf.bt.functions.function import Function

__all__ = ["FUNCTIONS", "METHODS", "REFUSED"]

_MODULES = (process, context, output, aggregates, text, symbols, stacks)

#: Name -> row.
FUNCTIONS: Mapping[str, Function] = MappingProxyType({row.name: row for module in _MODULES for row in module.ROWS})
#: Name -> row of what is called as ``value.name(arguments)``; the value is the first argument.
METHODS: Mapping[str, Function] = MappingProxyType({row.name: row for row in text.METHODS})
#: Name -> why it is not to be had.
REFUSED: Mapping[str, str] = MappingProxyType({})
