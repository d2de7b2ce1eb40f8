"""Kernels that are not there: a few types and tracepoints, and targets of old and new releases that have them."""

from __future__ import annotations

from functools import cache

from pybpf.btf import Btf, BtfBuilder
from pybpf.compiler.target import Target

__all__ = ["FORMATS", "described", "small_types"]

_HEAD = "format:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"


def _field(declaration: str, offset: int, size: int, signed: int = 0) -> str:
    return f"\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"


#: tracepoint -> its format file
FORMATS = {
    "syscalls:sys_enter_openat": _HEAD
    + _field("int __syscall_nr", 8, 4, 1)
    + _field("int dfd", 16, 8)
    + _field("const char * filename", 24, 8)
    + _field("int flags", 32, 8)
    + _field("umode_t mode", 40, 8),
    "sched:sched_process_exec": _HEAD
    + _field("__data_loc char[] filename", 8, 4)
    + _field("pid_t pid", 12, 4, 1)
    + _field("char comm[16]", 16, 16),
}


@cache
def small_types() -> Btf:
    """``struct sock`` and what it takes to reach it."""
    b = BtfBuilder()
    u8, u16, u32 = (b.int(name, size) for name, size in (("u8", 1), ("u16", 2), ("u32", 4)))
    s32, u64 = b.int("int", 4, signed=True), b.int("long unsigned int", 8)
    wide = b.int("__int128", 16)
    common = b.struct("sock_common", 16, [("skc_daddr", u32, 0), ("skc_dport", u16, 32), ("skc_state", u8, 48)])
    anonymous = b.union("", 8, [("sk_flags", u64, 0), ("sk_mark", u32, 0)])
    numbers = b.array(u32, 4)
    text = b.array(b.int("char", 1, encoding=2), 16)
    # struct sock *sk_next: of itself, by the id that the struct will have
    next_id = wide + 5 + 2
    sock = b.struct(
        "sock",
        80,
        [
            ("__sk_common", common, 0), ("", anonymous, 128), ("sk_next", next_id, 192), ("sk_numbers", numbers, 256),
            ("sk_name", text, 384), ("sk_bits", u32, 512, 3), ("sk_more", u32, 515, 5), ("sk_wide", wide, 512),
        ],
    )  # fmt: skip
    pointer = b.ptr(sock)
    assert (sock, pointer) == (next_id - 1, next_id), (sock, pointer, next_id)
    b.struct("inet_sock", 88, [("sk", sock, 0), ("inet_saddr", u32, 640)])
    b.func("tcp_connect", b.func_proto(s32, [("sk", pointer), ("flags", s32)]))
    b.func("tcp_close", b.func_proto(0, [("sk", pointer)]))
    many = [(name, u64) for name in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")]
    b.func("many", b.func_proto(u64, many))
    b.func("__bpf_trace_sock_made", b.func_proto(0, [("__data", b.ptr()), ("sk", pointer), ("kind", s32)]))
    b.typedef("btf_trace_sock_made", b.ptr(b.func_proto(0, [("", b.ptr()), ("", pointer), ("", s32)])))
    b.enum("state", [("TCP_ESTABLISHED", 1), ("TCP_LISTEN", 10)])
    b.typedef("umode_t", u16)
    return Btf.from_bytes(b.bytes())


def described(release: str, arch: str = "x86_64", *, types: bool = True) -> Target:
    """A kernel of a release, with the types and tracepoints of this file."""
    return Target.described(release, arch, types=small_types() if types else None, fields=FORMATS)
