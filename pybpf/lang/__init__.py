"""The Python DSL: functions of Python that become probes, and what has a meaning in them.

Everything here that is called in probes is a real function of Python, for editors and type checkers; called anywhere
else it raises :class:`~pybpf.errors.BpfError`. ``import *`` leaves out ``enum``, ``random`` and ``signal``, which are
names of modules of Python: import those by name.
"""

from typing import TYPE_CHECKING

from pybpf.lazy import lazy_names

if TYPE_CHECKING:
    from pybpf.lang.builtins.actions import override_return, signal_thread
    from pybpf.lang.builtins.actions import signal as signal
    from pybpf.lang.builtins.clock import boot_ns, cpu, jiffies64, ktime_ns, tai_ns
    from pybpf.lang.builtins.clock import random as random
    from pybpf.lang.builtins.inet import IpAddress, ntop
    from pybpf.lang.builtins.joining import join_user_str
    from pybpf.lang.builtins.kernel import (
        cast,
        container_of,
        current_task,
        has_field,
        offsetof,
        ppid,
        sizeof,
    )
    from pybpf.lang.builtins.kernel import enum as enum
    from pybpf.lang.builtins.paths import path
    from pybpf.lang.builtins.process import cgroup_id, comm, gid, ns_pid, ns_tid, pid, tid, uid
    from pybpf.lang.builtins.registers import cookie, func_ip, register, retval
    from pybpf.lang.builtins.stacks import KernelStack, UserStack, kernel_stack, user_stack
    from pybpf.lang.builtins.swaps import (
        bswap16,
        bswap32,
        bswap64,
        hton16,
        hton32,
        hton64,
        ntoh16,
        ntoh32,
        ntoh64,
    )
    from pybpf.lang.builtins.symbols import KernelAddress, UserAddress, func_name, kernel_symbol, user_symbol
    from pybpf.lang.builtins.syscalls import syscall
    from pybpf.lang.builtins.user import (
        kernel_ptr,
        read_kernel,
        read_kernel_bytes,
        read_kernel_str,
        read_user,
        read_user_bytes,
        read_user_str,
        user_ptr,
    )
    from pybpf.lang.tracer.tracer import Tracer

__all__ = [
    "IpAddress",
    "KernelAddress",
    "KernelStack",
    "Tracer",
    "UserAddress",
    "UserStack",
    "boot_ns",
    "bswap16",
    "bswap32",
    "bswap64",
    "cast",
    "cgroup_id",
    "comm",
    "container_of",
    "cookie",
    "cpu",
    "current_task",
    "func_ip",
    "func_name",
    "gid",
    "has_field",
    "hton16",
    "hton32",
    "hton64",
    "jiffies64",
    "join_user_str",
    "kernel_ptr",
    "kernel_stack",
    "kernel_symbol",
    "ktime_ns",
    "ns_pid",
    "ns_tid",
    "ntoh16",
    "ntoh32",
    "ntoh64",
    "ntop",
    "offsetof",
    "override_return",
    "path",
    "pid",
    "ppid",
    "read_kernel",
    "read_kernel_bytes",
    "read_kernel_str",
    "read_user",
    "read_user_bytes",
    "read_user_str",
    "register",
    "retval",
    "signal_thread",
    "sizeof",
    "syscall",
    "tai_ns",
    "tid",
    "uid",
    "user_ptr",
    "user_stack",
    "user_symbol",
]

__getattr__ = lazy_names(
    __name__,
    {
        "builtins.actions": "override_return signal signal_thread",
        "builtins.clock": "boot_ns cpu jiffies64 ktime_ns random tai_ns",
        "builtins.inet": "IpAddress ntop",
        "builtins.joining": "join_user_str",
        "builtins.kernel": "cast container_of current_task enum has_field offsetof ppid sizeof",
        "builtins.paths": "path",
        "builtins.process": "cgroup_id comm gid ns_pid ns_tid pid tid uid",
        "builtins.registers": "cookie func_ip register retval",
        "builtins.stacks": "KernelStack UserStack kernel_stack user_stack",
        "builtins.swaps": "bswap16 bswap32 bswap64 hton16 hton32 hton64 ntoh16 ntoh32 ntoh64",
        "builtins.symbols": "KernelAddress UserAddress func_name kernel_symbol user_symbol",
        "builtins.syscalls": "syscall",
        "tracer.tracer": "Tracer",
        "builtins.user": (
            "kernel_ptr read_kernel read_kernel_bytes read_kernel_str read_user read_user_bytes read_user_str user_ptr"
        ),
    },
)
