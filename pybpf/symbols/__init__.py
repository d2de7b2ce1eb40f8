"""Symbols: functions of programs, libraries and the kernel by name; USDT probes and their arguments."""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.symbols.elf import ElfFile, Section, Segment, Symbol
    from pybpf.symbols.kallsyms import KernelFunction, functions_named, kernel_functions
    from pybpf.symbols.library import Binary, Mapping, find_binary, libraries, mapped_binary, mappings
    from pybpf.symbols.usdt import UsdtSite, find_usdt, usdt_sites
    from pybpf.symbols.usdt_args import UsdtArg, UsdtArgKind, parse_args

__all__ = [
    "Binary",
    "ElfFile",
    "KernelFunction",
    "Mapping",
    "Section",
    "Segment",
    "Symbol",
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
        "elf": "ElfFile Section Segment Symbol",
        "kallsyms": "KernelFunction functions_named kernel_functions",
        "library": "Binary Mapping find_binary libraries mapped_binary mappings",
        "usdt": "UsdtSite find_usdt usdt_sites",
        "usdt_args": "UsdtArg UsdtArgKind parse_args",
    },
)
