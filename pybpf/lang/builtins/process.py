"""Builtins that say who runs: ids, name, namespace, control group, task."""

from __future__ import annotations

import ast
from typing import Any

from pybpf.compiler.ir import Operand
from pybpf.lang.builtins.builtin import Lowering, builtin, helper_value, meant_for_probes, need_helper
from pybpf.lang.front.gen import Gen
from pybpf.lang.values.ints import Int
from pybpf.lang.values.memory import Written, name_of
from pybpf.lang.values.raw import pointer
from pybpf.lang.values.running import NS_HELPER, OWN, is_initial, namespace_ids, write_comm
from pybpf.lang.values.val import Val
from pybpf.types import array_of, char, layout, sizeof, u32, u64
from pybpf.types.layout import CharsLayout

__all__ = [
    "NS_HELPER", "cgroup_id", "comm", "gid", "is_initial", "namespace_ids", "ns_pid", "ns_tid", "pid", "tid",
    "uid", "write_comm",
]  # fmt: skip


@builtin(helper_value("get_current_pid_tgid", u32, shift=32))
def pid() -> u32:
    """The id of the running process, as ``os.getpid()`` gives it there (the kernel's tgid)."""
    meant_for_probes()


@builtin(helper_value("get_current_pid_tgid", u32))
def tid() -> u32:
    """The id of the running thread, as ``threading.get_native_id()`` gives it there (the kernel's pid)."""
    meant_for_probes()


class _Comm(Written):
    """The name of the running thread, which the kernel writes where it is wanted."""

    kind = array_of(char, 16)

    def store(self, gen: Gen, address: Operand, offset: int, kind: Any, at: ast.AST) -> None:
        if not isinstance(layout(kind), CharsLayout):
            self.refuse(gen, at, f"cannot be kept as {name_of(kind)}; its type is char[16]")
        write_comm(gen, pointer(gen, address, offset), sizeof(kind))


@builtin(lambda gen, at: _Comm())
def comm() -> str:
    """The name of the running thread, a ``char[16]``, as /proc/PID/task/TID/comm has it."""
    meant_for_probes()


@builtin(helper_value("get_current_uid_gid", u32))
def uid() -> u32:
    """The real user id of the running process, in the initial user namespace."""
    meant_for_probes()


@builtin(helper_value("get_current_uid_gid", u32, shift=32))
def gid() -> u32:
    """The real group id of the running process, in the initial user namespace."""
    meant_for_probes()


@builtin(helper_value("get_current_cgroup_id", u64))
def cgroup_id() -> u64:
    """The id of the running task's control group (version 2): the inode number of its directory.

    Linux 4.18.
    """
    meant_for_probes()


def _in_namespace(index: int) -> Lowering:
    def lower(gen: Gen, at: ast.AST, namespace: Val) -> Val:
        path = gen.const(namespace)
        if not isinstance(path, str):
            gen.fail(at, "the namespace is the path of its file, as a constant: '/proc/1234/ns/pid'")
        if not is_initial(path):
            need_helper(gen, at, "an id of a pid namespace", NS_HELPER, "the initial namespace's are pid() and tid()")
        return Int(namespace_ids(gen, path)[index], u32)

    return lower


@builtin(_in_namespace(1))
def ns_pid(namespace: str = OWN) -> u32:
    """The id of the running process as a pid namespace knows it; 0 where it is not in that namespace.

    The initial namespace's are had everywhere, those of others since Linux 5.7.

    :param namespace: the namespace's file; by default that of the process that compiles the probe.
    :raises NotFoundError: there is no such file.
    """
    meant_for_probes()


@builtin(_in_namespace(0))
def ns_tid(namespace: str = OWN) -> u32:
    """The id of the running thread as a pid namespace knows it; otherwise as :func:`ns_pid`."""
    meant_for_probes()
