"""Symbols: functions of programs, libraries and the kernel by name and by address; USDT probes and their arguments."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.symbols.elf import ElfFile, ElfSymbol, Section, Segment
    from pybpf.symbols.kallsyms import KernelFunction, functions_named, kernel_functions
    from pybpf.symbols.kernel import KernelSymbols
    from pybpf.symbols.library import Binary, Mapping, find_binary, libraries, mapped_binary, mappings
    from pybpf.symbols.process import ProcessSymbols
    from pybpf.symbols.symbol import UNKNOWN, Symbol
    from pybpf.symbols.symbolizer import Symbolizer
    from pybpf.symbols.usdt import UsdtSite, find_usdt, usdt_sites
    from pybpf.symbols.usdt_args import UsdtArg, UsdtArgKind, parse_args

__all__ = [
    "UNKNOWN",
    "Binary",
    "ElfFile",
    "ElfSymbol",
    "KernelFunction",
    "KernelSymbols",
    "Mapping",
    "ProcessSymbols",
    "Section",
    "Segment",
    "Symbol",
    "Symbolizer",
    "UsdtArg",
    "UsdtArgKind",
    "UsdtSite",
    "find_binary",
    "find_usdt",
    "functions_named",
    "kernel_functions",
    "libraries",
    "mapped_binary",
    "mappings",
    "parse_args",
    "usdt_sites",
]

__getattr__ = lazy_names(
    __name__,
    {
        "elf": "ElfFile ElfSymbol Section Segment",
        "kallsyms": "KernelFunction functions_named kernel_functions",
        "kernel": "KernelSymbols",
        "library": "Binary Mapping find_binary libraries mapped_binary mappings",
        "process": "ProcessSymbols",
        "symbol": "UNKNOWN Symbol",
        "symbolizer": "Symbolizer",
        "usdt": "UsdtSite find_usdt usdt_sites",
        "usdt_args": "UsdtArg UsdtArgKind parse_args",
    },
)
