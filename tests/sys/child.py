"""Runs a piece of Python in a child process with fewer privileges than this one."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import struct
import traceback
import warnings
from collections.abc import Callable, Sequence

from pybpf.errors import KernelError
from pybpf.sys import features, memlock, objects, tracefs

__all__ = ["CAPABILITIES", "NOBODY", "become", "refuse_by_seccomp", "run"]

NOBODY = 65534
#: bits of the capability sets, include/uapi/linux/capability.h
CAPABILITIES = {"SYS_ADMIN": 21, "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}
_PR_SET_KEEPCAPS, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 8, 22, 38
_SECCOMP_MODE_FILTER = 2
#: loaded before the fork: an ordinary user may not be able to read this tree, or this Python
_LOADED = (features, memlock, objects, tracefs)
_libc = ctypes.CDLL(None, use_errno=True)


def run(
    code: str, *, uid: int | None = None, caps: Sequence[str] = (), before: Callable[[], object] | None = None
) -> str:
    """What ``code`` prints, stripped; an uncaught KernelError is printed as ``Class: message``.

    :param uid: run as this user, with only ``caps`` (names without ``CAP_``).
    :param before: called in the child just before the privileges go.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and newer warn of other threads: the test runner's watchdog is one, and holds no lock
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                if before is not None:
                    before()
                if uid is not None:
                    become(uid, caps)
                exec(code, {"__name__": "__main__"})
        except KernelError as error:
            out.write(f"{type(error).__name__}: {error}")
        except BaseException:
            out.write(traceback.format_exc())
        finally:
            os.write(writer, out.getvalue().encode()[-60000:])
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        text = file.read().strip()
    os.waitpid(child, 0)
    assert not text.startswith("Traceback"), text
    return text


def refuse_by_seccomp(call: int, number: int) -> None:
    """From here on system call ``call`` fails with errno ``number``, in this process and its children."""
    # struct sock_filter: code, jt, jf, k; the system call's number is the first word of struct seccomp_data
    steps = struct.pack("=HBBI", 0x20, 0, 0, 0) + struct.pack("=HBBI", 0x15, 0, 1, call)
    steps += struct.pack("=HBBI", 6, 0, 0, 0x50000 | number) + struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
    held = ctypes.create_string_buffer(steps, len(steps))
    program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", 4, ctypes.addressof(held)), 16)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0))


def become(uid: int, capabilities: Sequence[str]) -> None:
    """From here on this process is that user's, with only these capabilities (names without ``CAP_``)."""
    caps = sum(1 << CAPABILITIES[name] for name in capabilities)
    _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    low, high = caps & 0xFFFFFFFF, caps >> 32
    # struct __user_cap_header_struct (version 3), two struct __user_cap_data_struct
    _check(_libc.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", low, low, 0, high, high, 0)))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "cannot set up the child")
