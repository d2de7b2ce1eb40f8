"""Runs a piece of Python in a child process with fewer privileges than this one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["CAPABILITIES", "run"]

ROOT = Path(__file__).parent.parent.parent

#: bits of the capability sets, include/uapi/linux/capability.h
CAPABILITIES = {"SYS_ADMIN": 21, "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}

# The privileges go after the imports: an ordinary user may not be able to read this tree, or this Python.
_CHILD = """
import ctypes, os, struct, sys
sys.path.insert(0, {root!r})
import resource
import pybpf.sys.bpf, pybpf.sys.explain, pybpf.sys.features, pybpf.sys.memlock, pybpf.sys.objects
import pybpf.sys.perf, pybpf.sys.privilege, pybpf.sys.tracefs, pybpf.sys.vdso
from pybpf.errors import KernelError
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "cannot set up the child")
{before}
if {uid} is not None:
    check(libc.prctl(8, 1, 0, 0, 0))  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid({uid}, {uid}, {uid})
    os.setresuid({uid}, {uid}, {uid})
    low, high = {caps} & 0xffffffff, {caps} >> 32
    # struct __user_cap_header_struct (version 3), two struct __user_cap_data_struct
    header, data = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", low, low, 0, high, high, 0)
    check(libc.capset(header, data))
def body():
{code}
try:
    body()
except KernelError as error:
    print(type(error).__name__ + ": " + str(error))
"""


def run(code: str, *, uid: int | None = None, caps: Sequence[str] = (), before: str = "") -> str:
    """What ``code`` prints, stripped; an uncaught KernelError is printed as ``Class: message``.

    :param uid: run as this user, with only ``caps`` (names without ``CAP_``).
    :param before: code to run just before the privileges go.
    """
    indented = "\n".join("    " + line for line in code.splitlines())
    bits = sum(1 << CAPABILITIES[name] for name in caps)
    text = _CHILD.format(root=str(ROOT), before=before, uid=uid, caps=bits, code=indented)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
