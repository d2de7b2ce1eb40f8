"""The table of builtins: every name of :mod:`pybpf.lang` that stands for a function inside probes."""

from __future__ import annotations

from types import ModuleType

from pybpf.lang.builtins import (
    actions,
    clock,
    inet,
    joining,
    kernel,
    paths,
    process,
    registers,
    swaps,
    symbols,
    syscalls,
    user,
)
from pybpf.lang.builtins.builtin import Builtin

__all__ = ["BUILTINS"]

#: files by noun, in the order of the documentation
_FILES: tuple[ModuleType, ...] = (
    process, clock, registers, symbols, syscalls, kernel, paths, user, joining, swaps, inet, actions,
)  # fmt: skip

#: name -> builtin
BUILTINS: dict[str, Builtin] = {
    name: value for file in _FILES for name in file.__all__ if isinstance(value := getattr(file, name), Builtin)
}
