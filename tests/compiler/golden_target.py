"""A kernel as the golden files have it: release, architecture, and the types and tracepoints that the probes name."""

from __future__ import annotations

from pybpf.btf import Btf, BtfBuilder
from pybpf.compiler.target import Target

__all__ = ["RELEASE", "golden_target"]

RELEASE = "6.18 x86_64"

#: tracepoint -> its fields: declaration, offset, size, signed, as a format file has them
_FIELDS = {
    "syscalls:sys_enter_openat": "const char * filename:24:8:0, int flags:32:8:0, umode_t mode:40:8:0",
    "syscalls:sys_exit_openat": "long ret:16:8:1",
    "syscalls:sys_exit_read": "long ret:16:8:1",
    "syscalls:sys_enter_write": "unsigned int fd:16:8:0, const char * buf:24:8:0, size_t count:32:8:0",
    "raw_syscalls:sys_enter": "long id:8:8:1, unsigned long args[6]:16:48:0",
    "raw_syscalls:sys_exit": "long id:8:8:1, long ret:16:8:1",
    "sched:sched_process_exec": "__data_loc char[] filename:8:4:0, pid_t pid:12:4:1, pid_t old_pid:16:4:1",
    "sock:inet_sock_set_state": "const void * skaddr:8:8:0, int oldstate:16:4:1, int newstate:20:4:1,"
    " __u16 sport:24:2:0, __u16 dport:26:2:0, __u16 family:28:2:0, __u16 protocol:30:2:0,"
    " __u8 saddr[4]:32:4:0, __u8 daddr[4]:36:4:0,"
    " __u8 saddr_v6[16]:40:16:0, __u8 daddr_v6[16]:56:16:0",
    "signal:signal_generate": "int sig:8:4:1, int errno:12:4:1, int code:16:4:1, char comm[16]:20:16:0,"
    " pid_t pid:36:4:1",
}


def golden_target() -> Target:
    """The target that golden files are compiled for."""
    release, arch = RELEASE.split()
    formats = {name: "".join(map(_line, text.split(", "))) for name, text in _FIELDS.items()}
    return Target.described(release, arch, types=_types(), fields=formats)


def _line(field: str) -> str:
    declaration, offset, size, signed = field.split(":")
    return f"\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"


def _types() -> Btf:
    """``struct task_struct``, and the parameters of the scheduler's tracepoints."""
    b = BtfBuilder()
    s32, flag = b.int("int", 4, signed=True), b.int("bool", 1, encoding=4)
    task = b.ptr(b.struct("task_struct", 32, [("__state", s32, 0), ("pid", s32, 64), ("tgid", s32, 96)]))
    parameters = {
        "sched_wakeup": [("p", task)],
        "sched_switch": [("preempt", flag), ("prev", task), ("next", task), ("prev_state", s32)],
    }
    for name, named in parameters.items():
        all_of_them = [("__data", b.ptr()), *named]
        b.func(f"__bpf_trace_{name}", b.func_proto(0, all_of_them))
        b.typedef(f"btf_trace_{name}", b.ptr(b.func_proto(0, [("", kind) for _, kind in all_of_them])))
    return Btf.from_bytes(b.bytes())
