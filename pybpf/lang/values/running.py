"""Who runs, for both languages: the thread's name, the ids of thread and process in a pid namespace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pybpf.errors import NotFoundError
from pybpf.lang.values.raw import clear

if TYPE_CHECKING:
    from pybpf.compiler.ir import Operand
    from pybpf.lang.values.emitter import Emitter

__all__ = ["NS_HELPER", "OWN", "is_initial", "namespace_ids", "write_comm"]

NS_HELPER = "get_ns_current_pid_tgid"
_INITIAL = 0xEFFFFFFC  # PROC_PID_INIT_INO
OWN = "/proc/self/ns/pid"
_PIDNS_INFO = 8  # sizeof(struct bpf_pidns_info): u32 pid, u32 tgid


def write_comm(gen: Emitter, pointer: Operand, size: int) -> None:
    """Write the name of the running thread to memory of the program, and zeros behind it."""
    if not gen.target.has("comm_padded"):
        clear(gen, pointer, 0, size)
    gen.b.emit("call", pointer, size, helper="get_current_comm")


def is_initial(path: str = OWN) -> bool:
    """Whether a pid namespace is the initial one, whose ids are the kernel's own."""
    return _namespace(path).st_ino == _INITIAL


def _namespace(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise NotFoundError(f"there is no pid namespace {path!r}: {error.strerror}") from None


def namespace_ids(gen: Emitter, path: str = OWN) -> tuple[Operand, Operand]:
    """The ids of the running thread and process in a pid namespace; 0 where they are not in it.

    :param path: of the namespace's file. All but the initial one need the helper :data:`NS_HELPER`.
    :raises NotFoundError: there is no such file.
    """
    found = _namespace(path)
    if found.st_ino == _INITIAL:
        both = gen.b.emit("call", helper="get_current_pid_tgid")
        return gen.b.emit("zext", both, bits=32), gen.b.emit("lshr", both, 32)
    device = os.major(found.st_dev) << 20 | os.minor(found.st_dev)  # the kernel's own dev_t
    info = gen.b.slot(_PIDNS_INFO, "pidns_info")
    # where the task is not in the namespace it fails, and clears the memory
    gen.b.emit("call", device, found.st_ino, info, _PIDNS_INFO, helper=NS_HELPER)
    thread, process = (gen.b.emit("load", info, offset=offset, size=4, signed=False) for offset in (0, 4))
    return thread, process
