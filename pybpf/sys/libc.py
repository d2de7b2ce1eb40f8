"""The C library by ctypes: ``syscall(2)`` with errno, the same for glibc and musl."""

from __future__ import annotations

import ctypes
import os
from typing import Any

__all__ = ["address", "getauxval", "syscall", "syscall4"]

# Of the process's own namespace: finds the libc that Python itself runs on, whichever that is.
_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
# syscall(2) is variadic; on every Linux ABI that pybpf knows integer variadics travel like fixed ones.
_syscall.argtypes = [ctypes.c_long] * 7
_getauxval = _libc.getauxval
_getauxval.argtypes = [ctypes.c_ulong]
_getauxval.restype = ctypes.c_ulong


def syscall(nr: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0, e: int = 0, f: int = 0) -> int:
    """Make system call ``nr``. :raises OSError: with the errno (plain; callers say what they were doing)."""
    result: int = _syscall(nr, a, b, c, d, e, f)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# Fewer arguments to convert make a call on a hot path a quarter cheaper.
_syscall4 = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_long, use_errno=True)(
    ("syscall", _libc)
)


def syscall4(nr: int, a: int, b: int, c: int) -> int:
    """Make system call ``nr`` of three arguments: its result, or minus errno. For hot paths; raises nothing."""
    result: int = _syscall4(nr, a, b, c)
    return result if result != -1 else -ctypes.get_errno()


def getauxval(kind: int) -> int:
    """An entry of the auxiliary vector that the kernel gave this process (getauxval(3)); 0 when it has none."""
    value: int = _getauxval(kind)
    return value


def address(buffer: Any) -> int:
    """The address of the bytes of a ``bytes`` object or ctypes instance (0 for ``None``).

    The caller keeps ``buffer`` alive while the address is in use, and never lets anyone write to ``bytes``.
    """
    if buffer is None:
        return 0
    if isinstance(buffer, bytes):
        return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value or 0
    return ctypes.addressof(buffer)
