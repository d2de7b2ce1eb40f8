"""pybpf: trace Linux with eBPF from Python alone. Names and submodules load when they are used.

>>> from pybpf import Struct, Tracer, char, u32
>>> from pybpf.lang import comm, pid
"""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.errors import (
        BpfError,
        ClosedError,
        CompileError,
        DeclarationError,
        KernelError,
        NotFoundError,
        PackError,
        PermissionDenied,
        UnsupportedError,
        VerifierError,
    )
    from pybpf.lang import Tracer
    from pybpf.types import Struct, bool_, char, s8, s16, s32, s64, u8, u16, u32, u64

__all__ = [
    "BpfError",
    "ClosedError",
    "CompileError",
    "DeclarationError",
    "KernelError",
    "NotFoundError",
    "PackError",
    "PermissionDenied",
    "Struct",
    "Tracer",
    "UnsupportedError",
    "VerifierError",
    "bool_",
    "char",
    "s8",
    "s16",
    "s32",
    "s64",
    "u8",
    "u16",
    "u32",
    "u64",
]

__version__ = "0.1.0"

__getattr__ = lazy_names(
    __name__,
    {
        "errors": (
            "BpfError ClosedError CompileError DeclarationError KernelError NotFoundError PackError PermissionDenied "
            "UnsupportedError VerifierError"
        ),
        "lang": "Tracer",
        "types": "Struct bool_ char s8 s16 s32 s64 u8 u16 u32 u64",
    },
)
