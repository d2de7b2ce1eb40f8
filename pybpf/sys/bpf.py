"""bpf(2): commands, constants and the fields of ``union bpf_attr`` (include/uapi/linux/bpf.h of Linux 6.18)."""

from __future__ import annotations

import ctypes
import errno
import struct
from enum import IntEnum, IntFlag
from typing import Any

from pybpf.arch import host_number
from pybpf.errors import PackError
from pybpf.sys.libc import address, syscall, syscall4

__all__ = [
    "ATTR_SIZE",
    "AttachType",
    "Attr",
    "BtfFlags",
    "Cmd",
    "MapFlags",
    "MapType",
    "ProgFlags",
    "ProgType",
    "UpdateFlags",
    "bpf",
    "bpf_raw",
]  # fmt: skip

#: Bytes of attr that are always sent; unknown fields are zero, so every kernel since 4.18 takes this size.
ATTR_SIZE = 168


class Cmd(IntEnum):
    """``enum bpf_cmd``."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    TASK_FD_QUERY = 20
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    ITER_CREATE = 33
    LINK_DETACH = 34
    PROG_BIND_MAP = 35
    TOKEN_CREATE = 36
    PROG_STREAM_READ = 37


class MapType(IntEnum):
    """``enum bpf_map_type``."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33
    INSN_ARRAY = 34


class ProgType(IntEnum):
    """``enum bpf_prog_type``."""

    SOCKET_FILTER = 1
    KPROBE = 2
    SCHED_CLS = 3
    SCHED_ACT = 4
    TRACEPOINT = 5
    XDP = 6
    PERF_EVENT = 7
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    LWT_IN = 10
    LWT_OUT = 11
    LWT_XMIT = 12
    SOCK_OPS = 13
    SK_SKB = 14
    CGROUP_DEVICE = 15
    SK_MSG = 16
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    LWT_SEG6LOCAL = 19
    LIRC_MODE2 = 20
    SK_REUSEPORT = 21
    FLOW_DISSECTOR = 22
    CGROUP_SYSCTL = 23
    RAW_TRACEPOINT_WRITABLE = 24
    CGROUP_SOCKOPT = 25
    TRACING = 26
    STRUCT_OPS = 27
    EXT = 28
    LSM = 29
    SK_LOOKUP = 30
    SYSCALL = 31
    NETFILTER = 32


class AttachType(IntEnum):
    """The part of ``enum bpf_attach_type`` that tracing uses."""

    NONE = 0
    TRACE_RAW_TP = 23
    TRACE_FENTRY = 24
    TRACE_FEXIT = 25
    MODIFY_RETURN = 26
    LSM_MAC = 27
    TRACE_ITER = 28
    PERF_EVENT = 41
    TRACE_KPROBE_MULTI = 42
    TRACE_UPROBE_MULTI = 48
    TRACE_KPROBE_SESSION = 56
    TRACE_UPROBE_SESSION = 57


class MapFlags(IntFlag):
    """``map_flags`` of MAP_CREATE."""

    NO_PREALLOC = 1 << 0
    NO_COMMON_LRU = 1 << 1
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    STACK_BUILD_ID = 1 << 5
    ZERO_SEED = 1 << 6
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    CLONE = 1 << 9
    MMAPABLE = 1 << 10
    PRESERVE_ELEMS = 1 << 11
    INNER_MAP = 1 << 12


class UpdateFlags(IntEnum):
    """``flags`` of MAP_UPDATE_ELEM."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2


class ProgFlags(IntFlag):
    """``prog_flags`` of PROG_LOAD."""

    STRICT_ALIGNMENT = 1 << 0
    ANY_ALIGNMENT = 1 << 1
    TEST_RND_HI32 = 1 << 2
    TEST_STATE_FREQ = 1 << 3
    SLEEPABLE = 1 << 4


class BtfFlags(IntFlag):
    """``btf_flags`` of BTF_LOAD."""

    TOKEN_FD = 1 << 16


_ELEM = "map_fd:0:I key:8:Q value:16:Q flags:24:Q"
_BATCH = "in_batch:0:Q out_batch:8:Q keys:16:Q values:24:Q count:32:I map_fd:36:I elem_flags:40:Q flags:48:Q"
_BY_ID = "id:0:I next_id:4:I open_flags:8:I token_fd:12:I"
_OBJ = "pathname:0:Q bpf_fd:8:I file_flags:12:I path_fd:16:I"

# One row per command: "name:offset:struct code" of each field. Members of nested unions carry their union's name.
_FIELDS_TEXT = {
    Cmd.MAP_CREATE: "map_type:0:I key_size:4:I value_size:8:I max_entries:12:I map_flags:16:I inner_map_fd:20:I "
    "numa_node:24:I map_name:28:16s map_ifindex:44:I btf_fd:48:I btf_key_type_id:52:I btf_value_type_id:56:I "
    "btf_vmlinux_value_type_id:60:I map_extra:64:Q value_type_btf_obj_fd:72:I map_token_fd:76:I "
    "excl_prog_hash:80:Q excl_prog_hash_size:88:I",
    Cmd.MAP_LOOKUP_ELEM: _ELEM,
    Cmd.MAP_UPDATE_ELEM: _ELEM,
    Cmd.MAP_DELETE_ELEM: _ELEM,
    Cmd.MAP_GET_NEXT_KEY: "map_fd:0:I key:8:Q next_key:16:Q",
    Cmd.PROG_LOAD: "prog_type:0:I insn_cnt:4:I insns:8:Q license:16:Q log_level:24:I log_size:28:I log_buf:32:Q "
    "kern_version:40:I prog_flags:44:I prog_name:48:16s prog_ifindex:64:I expected_attach_type:68:I "
    "prog_btf_fd:72:I func_info_rec_size:76:I func_info:80:Q func_info_cnt:88:I line_info_rec_size:92:I "
    "line_info:96:Q line_info_cnt:104:I attach_btf_id:108:I attach_prog_fd:112:I attach_btf_obj_fd:112:I "
    "core_relo_cnt:116:I fd_array:120:Q core_relos:128:Q core_relo_rec_size:136:I log_true_size:140:I "
    "prog_token_fd:144:I fd_array_cnt:148:I signature:152:Q signature_size:160:I keyring_id:164:I",
    Cmd.OBJ_PIN: _OBJ,
    Cmd.OBJ_GET: _OBJ,
    Cmd.PROG_ATTACH: "target_fd:0:I attach_bpf_fd:4:I attach_type:8:I attach_flags:12:I replace_bpf_fd:16:I",
    Cmd.PROG_DETACH: "target_fd:0:I attach_bpf_fd:4:I attach_type:8:I attach_flags:12:I",
    Cmd.PROG_TEST_RUN: "prog_fd:0:I retval:4:I data_size_in:8:I data_size_out:12:I data_in:16:Q data_out:24:Q "
    "repeat:32:I duration:36:I ctx_size_in:40:I ctx_size_out:44:I ctx_in:48:Q ctx_out:56:Q flags:64:I cpu:68:I "
    "batch_size:72:I",
    Cmd.PROG_GET_NEXT_ID: _BY_ID,
    Cmd.MAP_GET_NEXT_ID: _BY_ID,
    Cmd.PROG_GET_FD_BY_ID: _BY_ID,
    Cmd.MAP_GET_FD_BY_ID: _BY_ID,
    Cmd.OBJ_GET_INFO_BY_FD: "bpf_fd:0:I info_len:4:I info:8:Q",
    Cmd.PROG_QUERY: "target_fd:0:I attach_type:4:I query_flags:8:I attach_flags:12:I prog_ids:16:Q prog_cnt:24:I",
    Cmd.RAW_TRACEPOINT_OPEN: "name:0:Q prog_fd:8:I cookie:16:Q",
    Cmd.BTF_LOAD: "btf:0:Q btf_log_buf:8:Q btf_size:16:I btf_log_size:20:I btf_log_level:24:I "
    "btf_log_true_size:28:I btf_flags:32:I btf_token_fd:36:I",
    Cmd.BTF_GET_FD_BY_ID: _BY_ID,
    Cmd.TASK_FD_QUERY: "pid:0:I fd:4:I flags:8:I buf_len:12:I buf:16:Q prog_id:24:I fd_type:28:I "
    "probe_offset:32:Q probe_addr:40:Q",
    Cmd.MAP_LOOKUP_AND_DELETE_ELEM: _ELEM,
    Cmd.MAP_FREEZE: "map_fd:0:I",
    Cmd.BTF_GET_NEXT_ID: _BY_ID,
    Cmd.MAP_LOOKUP_BATCH: _BATCH,
    Cmd.MAP_LOOKUP_AND_DELETE_BATCH: _BATCH,
    Cmd.MAP_UPDATE_BATCH: _BATCH,
    Cmd.MAP_DELETE_BATCH: _BATCH,
    Cmd.LINK_CREATE: "prog_fd:0:I target_fd:4:I attach_type:8:I flags:12:I "
    "target_btf_id:16:I iter_info:16:Q iter_info_len:24:I perf_event_bpf_cookie:16:Q "
    "kprobe_multi_flags:16:I kprobe_multi_cnt:20:I kprobe_multi_syms:24:Q kprobe_multi_addrs:32:Q "
    "kprobe_multi_cookies:40:Q tracing_target_btf_id:16:I tracing_cookie:24:Q "
    "uprobe_multi_path:16:Q uprobe_multi_offsets:24:Q uprobe_multi_ref_ctr_offsets:32:Q "
    "uprobe_multi_cookies:40:Q uprobe_multi_cnt:48:I uprobe_multi_flags:52:I uprobe_multi_pid:56:I",
    Cmd.LINK_UPDATE: "link_fd:0:I new_prog_fd:4:I flags:8:I old_prog_fd:12:I",
    Cmd.LINK_GET_FD_BY_ID: _BY_ID,
    Cmd.LINK_GET_NEXT_ID: _BY_ID,
    Cmd.ENABLE_STATS: "type:0:I",
    Cmd.ITER_CREATE: "link_fd:0:I flags:4:I",
    Cmd.LINK_DETACH: "link_fd:0:I",
    Cmd.PROG_BIND_MAP: "prog_fd:0:I map_fd:4:I flags:8:I",
    Cmd.TOKEN_CREATE: "flags:0:I bpffs_fd:4:I",
    Cmd.PROG_STREAM_READ: "stream_buf:0:Q stream_buf_len:8:I stream_id:12:I prog_fd:16:I",
}  # fmt: skip


class _Fields(dict[int, "dict[str, tuple[int, struct.Struct]]"]):
    """command -> {field: (offset, format)}, each row parsed when its command is first used."""

    def __missing__(self, cmd: int) -> dict[str, tuple[int, struct.Struct]]:
        rows = (field.split(":") for field in _FIELDS_TEXT[Cmd(cmd)].split())
        self[cmd] = made = {name: (int(offset), struct.Struct("=" + code)) for name, offset, code in rows}
        return made


_FIELDS = _Fields()
_NR_BPF = host_number("nr_bpf")


class Attr:
    """A ``union bpf_attr`` for one command.

    Fields are given by the names of the kernel's header; a member of a nested struct carries that struct's name,
    as in ``link_create_…`` without the prefix: ``kprobe_multi_cnt``. Pointer fields take an address, ``bytes``
    (read by the kernel only) or a ctypes instance; what they point to lives as long as this object. Fields that
    the kernel writes are read back with ``attr["retval"]``.

    :raises PackError: a number does not fit its field.
    """

    __slots__ = ("_buffer", "_fields", "_kept", "cmd")

    def __init__(self, cmd: Cmd, **values: Any) -> None:
        self.cmd = cmd
        self._fields = _FIELDS[cmd]
        self._buffer = ctypes.create_string_buffer(ATTR_SIZE)
        self._kept: list[Any] = []
        for name, value in values.items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        offset, code = self._fields[name]
        if code.format == "=Q" and not isinstance(value, int):
            self._kept.append(value)
            value = address(value)
        try:
            code.pack_into(self._buffer, offset, value)
        except struct.error:
            what = f"{name} of {self.cmd.name}"
            raise PackError(f"{value!r:.40} is not a number from 0 to 2**{8 * code.size} - 1, as {what} is") from None

    def __getitem__(self, name: str) -> Any:
        offset, code = self._fields[name]
        return code.unpack_from(self._buffer, offset)[0]

    def call(self) -> int:
        """Make the system call.

        :raises OSError: with the kernel's errno, and this object as ``request`` for :mod:`pybpf.sys.explain`.
        """
        try:
            return syscall(_NR_BPF, self.cmd, ctypes.addressof(self._buffer), ATTR_SIZE)
        except OSError as error:
            error.request = self  # type: ignore[attr-defined]
            raise

    def last_field(self) -> str:
        """The field that lies furthest back of those that are not zero; ``""`` when all are."""
        used = [(offset, name) for name, (offset, code) in self._fields.items()
                if any(self._buffer.raw[offset : offset + code.size])]  # fmt: skip
        return max(used, default=(0, ""))[1]

    def known(self) -> bool:
        """Whether the kernel's ``union bpf_attr`` is long enough for all fields that are not zero."""
        used = len(self._buffer.raw.rstrip(b"\0"))
        attr = ctypes.create_string_buffer(b"\1".rjust(used, b"\0") if used else b"", ATTR_SIZE)
        # For a command that does not exist, E2BIG comes only from the check of the attr.
        return bpf_raw(0xFFFF, ctypes.addressof(attr), ATTR_SIZE) != -errno.E2BIG


def bpf(cmd: Cmd, **values: Any) -> int:
    """``bpf(2)`` with the given fields of attr, see :class:`Attr`; returns what the kernel returns.

    :raises OSError: plain; the caller says what it was doing by :mod:`pybpf.sys.explain`.
    """
    return Attr(cmd, **values).call()


def bpf_raw(cmd: int, attr: int, size: int) -> int:
    """``bpf(2)`` on an attr that the caller built and keeps: the result, or minus errno. For hot paths.

    :param attr: its address.
    """
    return syscall4(_NR_BPF, cmd, attr, size)
