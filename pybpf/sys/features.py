"""What the running kernel can do: one table of features, each with the probe that tries it. Never compares versions."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from pybpf.asm import (
    DW,
    R0,
    R1,
    R2,
    R10,
    W0,
    B,
    W,
    add,
    atomic_add,
    bswap,
    call,
    call_local,
    exit_,
    goto,
    gotol,
    jeq,
    jlt,
    ld_map_index,
    ld_map_value,
    ldsx,
    ldx,
    load_acquire,
    may_goto,
    mov,
    movsx,
    sdiv,
    store_release,
    stx,
)
from pybpf.errors import NotFoundError
from pybpf.record import NamedTuple
from pybpf.sys import probes
from pybpf.sys.bpf import AttachType, Attr, Cmd, MapFlags, MapType, ProgFlags, ProgType
from pybpf.sys.cpus import any_cpu
from pybpf.sys.mount import mounts
from pybpf.sys.perf import PerfType, Software, perf_event_open
from pybpf.sys.probes import YES, Result, Support, helper, judge
from pybpf.sys.tracefs import tracefs
from pybpf.sys.vmlinux import FUNC, TYPEDEF

__all__ = ["FEATURES", "Feature", "Result", "Support", "all_features", "has", "helper", "probe"]


class Feature(NamedTuple):
    """A row of the table."""

    name: str
    group: str  #: "map", "program", "attach", "instruction", "helper", "type" or "command"
    text: str  #: what it is, for people
    since: str  #: the upstream release that brought it; for information, distributions carry features back
    probe: Callable[[], Result]


def _any_of(*names: str) -> Result:
    """The best of other features."""
    order = (Support.YES, Support.NOT_ALLOWED, Support.NO)
    return min(map(probe, names), key=lambda result: order.index(result.support))


def _perf(*supported: int, **attr: Any) -> Result:
    """Whether a perf event can be opened for all processes."""
    try:
        perf_event_open(pid=-1, cpu=any_cpu(), **attr).close()
    except OSError as error:
        return judge(error, supported=supported)
    return YES


def _pmu(name: str, *supported: int, **attr: Any) -> Result:
    try:
        with open(f"/sys/bus/event_source/devices/{name}/type", encoding="utf-8") as file:
            number = int(file.read())
    except FileNotFoundError:
        return Result(Support.NO, f"the kernel has no {name} PMU")
    except OSError as error:
        return judge(error)
    return _perf(*supported, type=number, **attr)


def _tracefs(path: str) -> Result:
    """Whether tracefs can be reached and has a file."""
    try:
        with tracefs() as files:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=files.root.fileno()))
    except OSError as error:
        return Result(Support.NO, f"tracefs has no {path}") if error.errno == errno.ENOENT else judge(error)
    return YES


def _tracepoint() -> Result:
    try:
        with tracefs() as files:
            fd = os.open("events/task/task_newtask/id", os.O_RDONLY | os.O_CLOEXEC, dir_fd=files.root.fileno())
            with open(fd, encoding="utf-8") as file:
                number = int(file.read())
    except OSError as error:
        return judge(error)
    return _perf(type=PerfType.TRACEPOINT, config=number)


def _kprobe_multi(kind: AttachType) -> Result:
    symbols = (ctypes.c_char_p * 1)(probes.QUIET.encode())
    return probes.link(
        ProgType.KPROBE, kind, load={"expected_attach_type": kind}, kprobe_multi_cnt=1, kprobe_multi_syms=symbols
    )


def _uprobe_multi(kind: AttachType) -> Result:
    offsets = (ctypes.c_uint64 * 1)()
    # a directory has no probes: EBADF comes from the code that attaches
    return probes.link(
        ProgType.KPROBE,
        kind,
        errno.EBADF,
        load={"expected_attach_type": kind},
        uprobe_multi_cnt=1,
        uprobe_multi_path=b"/\0",
        uprobe_multi_offsets=offsets,
    )


def _raw_tracepoint(**fields: int) -> Result:
    try:
        with probes.program(ProgType.RAW_TRACEPOINT) as prog:
            name = b"no_such_tracepoint\0"
            return probes.command(Cmd.RAW_TRACEPOINT_OPEN, errno.ENOENT, prog_fd=prog.fileno(), name=name, **fields)
    except OSError as error:
        return judge(error)


def _test_run(kind: ProgType, flags: int = 0, **fields: Any) -> Result:
    try:
        with probes.program(kind, prog_flags=flags) as prog:
            return probes.command(Cmd.PROG_TEST_RUN, prog_fd=prog.fileno(), **fields)
    except OSError as error:
        return judge(error)


#: Longer than any name: the last bytes of the room are zero only if the helper writes what follows the name.
_COMM = (
    mov(R1, -1),
    *(stx(DW, R10, offset, R1) for offset in (-32, -24, -16, -8)),
    mov(R1, R10),
    add(R1, -32),
    mov(R2, 32),
    call("get_current_comm"),
    ldx(B, R0, R10, -1),
    exit_(),
)


def _comm_padded() -> Result:
    try:
        with probes.program(ProgType.RAW_TRACEPOINT, _COMM) as prog:
            attr = Attr(Cmd.PROG_TEST_RUN, prog_fd=prog.fileno())
            attr.call()
    except OSError as error:
        return judge(error)
    return Result(Support.NO, "bytes behind the name are left") if attr["retval"] else YES


def _batch(kind: MapType) -> Result:
    room = ctypes.create_string_buffer(8 * 4096)  # a key, or values for every CPU
    keys, last = ctypes.create_string_buffer(8), ctypes.create_string_buffer(8)
    try:
        with probes.made_map(kind) as made:
            return probes.command(
                Cmd.MAP_LOOKUP_BATCH,
                errno.ENOENT,
                map_fd=made.fileno(),
                keys=keys,
                values=room,
                out_batch=last,
                count=1,
            )
    except OSError as error:
        return judge(error)


def _take_from_hash() -> Result:
    with probes.made_map(MapType.HASH) as made:
        return probes.command(
            Cmd.MAP_LOOKUP_AND_DELETE_ELEM, errno.ENOENT, map_fd=made.fileno(), key=bytes(4),
            value=ctypes.create_string_buffer(4),
        )  # fmt: skip


def _freeze() -> Result:
    with probes.made_map(MapType.ARRAY) as made:
        return probes.command(Cmd.MAP_FREEZE, map_fd=made.fileno())


def _map_value() -> Result:
    with probes.made_map(MapType.ARRAY) as made:
        code = (ld_map_value(R1, "m"), ldx(W, R0, R1), *probes.RETURN_0)
        probes.program(ProgType.SOCKET_FILTER, code, map_fd=made.fileno()).close()
        return YES


def _fd_array() -> Result:
    with probes.made_map(MapType.ARRAY) as made:
        array = (ctypes.c_int32 * 1)(made.fileno())
        return probes.insns((ld_map_index(R1, 0), *probes.RETURN_0), fd_array=array)


def _jit() -> Result:
    info = ctypes.create_string_buffer(232)
    with probes.program(ProgType.SOCKET_FILTER) as prog:
        Attr(Cmd.OBJ_GET_INFO_BY_FD, bpf_fd=prog.fileno(), info_len=len(info), info=info).call()
    (jited_len,) = struct.unpack_from("=I", info, 16)
    if jited_len:
        return YES
    # the length is told only to those who may read the code
    return judge(PermissionError(errno.EPERM, "")) if probes.lacks_privileges() else Result(Support.NO, "interpreted")


def _file(path: str) -> Result:
    if not os.path.exists(path):
        return Result(Support.NO, f"there is no {path}")
    return YES if os.access(path, os.R_OK) else Result(Support.NOT_ALLOWED, f"{path} may not be read")


def _bpffs() -> Result:
    where = [mount.path for mount in mounts("bpf")]
    return Result(Support.YES, where[0]) if where else Result(Support.NO, "no bpf file system is mounted")


def _kernel_function(name: str) -> Result:
    found = probes.kernel_type(FUNC, name)
    return YES if found else Result(Support.NO, f"the kernel's BTF is missing or has no {name}")


def _maps() -> Iterable[Feature]:
    since = {
        MapType.HASH: "3.19", MapType.ARRAY: "3.19", MapType.PROG_ARRAY: "4.2", MapType.PERF_EVENT_ARRAY: "4.3",
        MapType.PERCPU_HASH: "4.6", MapType.PERCPU_ARRAY: "4.6", MapType.STACK_TRACE: "4.6",
        MapType.CGROUP_ARRAY: "4.8", MapType.LRU_HASH: "4.10", MapType.LRU_PERCPU_HASH: "4.10",
        MapType.LPM_TRIE: "4.11", MapType.ARRAY_OF_MAPS: "4.12", MapType.HASH_OF_MAPS: "4.12",
        MapType.DEVMAP: "4.14", MapType.SOCKMAP: "4.14", MapType.CPUMAP: "4.15", MapType.XSKMAP: "4.18",
        MapType.SOCKHASH: "4.18", MapType.CGROUP_STORAGE: "4.19", MapType.REUSEPORT_SOCKARRAY: "4.19",
        MapType.PERCPU_CGROUP_STORAGE: "4.20", MapType.QUEUE: "4.20", MapType.STACK: "4.20",
        MapType.SK_STORAGE: "5.2", MapType.DEVMAP_HASH: "5.4", MapType.RINGBUF: "5.8", MapType.INODE_STORAGE: "5.10",
        MapType.TASK_STORAGE: "5.11", MapType.BLOOM_FILTER: "5.16", MapType.USER_RINGBUF: "6.1",
        MapType.CGRP_STORAGE: "6.2", MapType.ARENA: "6.9",
    }  # fmt: skip
    for kind, release in since.items():
        name = kind.name.lower()
        yield Feature(name, "map", f"maps of type {name}", release, partial(probes.map_type, kind))


def _programs() -> Iterable[Feature]:
    since = {
        ProgType.SOCKET_FILTER: "3.19", ProgType.KPROBE: "4.1", ProgType.SCHED_CLS: "4.1", ProgType.TRACEPOINT: "4.7",
        ProgType.XDP: "4.8", ProgType.PERF_EVENT: "4.9", ProgType.CGROUP_SKB: "4.10", ProgType.SOCK_OPS: "4.13",
        ProgType.RAW_TRACEPOINT: "4.17", ProgType.RAW_TRACEPOINT_WRITABLE: "5.2", ProgType.TRACING: "5.5",
        ProgType.LSM: "5.7", ProgType.SYSCALL: "5.14",
    }  # fmt: skip
    for kind, release in since.items():
        name = kind.name.lower()
        probe_it = partial(probes.known_to_verifier, kind)
        yield Feature(f"prog_{name}", "program", f"programs of type {name}", release, probe_it)


_KPROBE_SESSION, _UPROBE_SESSION = AttachType.TRACE_KPROBE_SESSION, AttachType.TRACE_UPROBE_SESSION


def _attach() -> Iterable[Feature]:
    row = partial(Feature, group="attach")
    either = {kind: partial(_any_of, f"{kind}_pmu", f"{kind}_events") for kind in ("kprobe", "uprobe")}
    fentry = partial(probes.traced, AttachType.TRACE_FENTRY, FUNC, probes.QUIET)
    fexit = partial(probes.traced, AttachType.TRACE_FEXIT, FUNC, probes.QUIET)
    fmod_ret = partial(probes.traced, AttachType.MODIFY_RETURN, FUNC, probes.QUIET_ERROR)
    tp_btf = partial(probes.traced, AttachType.TRACE_RAW_TP, TYPEDEF, probes.NEWTASK)
    iterator = partial(probes.traced, AttachType.TRACE_ITER, FUNC, "bpf_iter_task", attach=False)
    yield row("tracefs", text="the directory of trace events", since="4.1", probe=partial(_tracefs, "events"))
    yield row("tracepoint", text="tracepoints", since="4.7", probe=_tracepoint)
    yield row("raw_tp", text="raw tracepoints", since="4.17", probe=_raw_tracepoint)
    yield row("tp_btf", text="raw tracepoints typed by BTF", since="5.5", probe=tp_btf)
    yield row("kprobe", text="kprobes by any way", since="4.1", probe=either["kprobe"])
    yield row("kretprobe", text="kretprobes by any way", since="4.1", probe=either["kprobe"])
    yield row("kprobe_pmu", text="kprobes by perf_event_open", since="4.17",
              probe=partial(_pmu, "kprobe", errno.ENOENT, config1=probes.QUIET.encode() + b"\0"))  # fmt: skip
    yield row("kprobe_events", text="kprobes by tracefs", since="4.1", probe=partial(_tracefs, "kprobe_events"))
    yield row("kprobe_multi", text="many kprobes as one link", since="5.18",
              probe=partial(_kprobe_multi, AttachType.TRACE_KPROBE_MULTI))  # fmt: skip
    yield row("kprobe_session", text="entry and return as one program", since="6.10",
              probe=partial(_kprobe_multi, _KPROBE_SESSION))  # fmt: skip
    yield row("uprobe", text="uprobes by any way", since="4.1", probe=either["uprobe"])
    yield row("uretprobe", text="uretprobes by any way", since="4.1", probe=either["uprobe"])
    # EINVAL: a directory has no code
    yield row("uprobe_pmu", text="uprobes by perf_event_open", since="4.17",
              probe=partial(_pmu, "uprobe", errno.EINVAL, config1=b"/\0"))  # fmt: skip
    yield row("uprobe_events", text="uprobes by tracefs", since="4.1", probe=partial(_tracefs, "uprobe_events"))
    yield row("uprobe_multi", text="many uprobes as one link", since="6.6",
              probe=partial(_uprobe_multi, AttachType.TRACE_UPROBE_MULTI))  # fmt: skip
    yield row("uprobe_session", text="entry and return as one program", since="6.13",
              probe=partial(_uprobe_multi, _UPROBE_SESSION))  # fmt: skip
    yield row("uprobe_ref_ctr", text="semaphores of USDT probes", since="4.20",
              probe=partial(_file, "/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset"))  # fmt: skip
    yield row("fentry", text="entry of kernel functions, by trampoline", since="5.5", probe=fentry)
    yield row("fexit", text="return of kernel functions, by trampoline", since="5.5", probe=fexit)
    yield row("fmod_ret", text="another result for kernel functions", since="5.7", probe=fmod_ret)
    yield row("iter", text="iterators", since="5.8", probe=iterator)
    yield row("perf_event", text="sampling by a timer", since="4.9",
              probe=partial(_perf, type=PerfType.SOFTWARE, config=Software.CPU_CLOCK))  # fmt: skip
    yield row("perf_hardware", text="counters of the processor", since="4.9",
              probe=partial(_perf, type=PerfType.HARDWARE, config=0))  # fmt: skip
    yield row("perf_link", text="links for perf events", since="5.15",
              probe=partial(probes.link, ProgType.TRACEPOINT, AttachType.PERF_EVENT, errno.EBADF,
                            target_fd=0xFFFFFFFF))  # fmt: skip
    yield row("cookies", text="cookies of perf events", since="5.15",
              probe=partial(helper, "get_attach_cookie", ProgType.TRACEPOINT))  # fmt: skip
    yield row("raw_tp_cookies", text="cookies of raw tracepoints", since="6.10",
              probe=partial(_raw_tracepoint, cookie=1))  # fmt: skip
    yield row("sleepable", text="programs that may sleep", since="5.10",
              probe=partial(probes.known_to_verifier, ProgType.TRACING, prog_flags=ProgFlags.SLEEPABLE))  # fmt: skip
    yield row("sleepable_uprobe", text="uprobes that may sleep", since="6.0",
              probe=partial(probes.insns, probes.RETURN_0, ProgType.KPROBE,
                            prog_flags=ProgFlags.SLEEPABLE))  # fmt: skip


_RETURN_0 = probes.RETURN_0
#: name, text, release, program; the names are those of :data:`pybpf.asm.FEATURES` where it has one
_INSTRUCTIONS = (
    ("jmp32", "comparisons of 32 bits", "5.1", (mov(R0, 0), jeq(W0, 0, 0), exit_())),
    ("subprog", "local calls", "4.16", (call_local(1), exit_(), *_RETURN_0)),
    ("bounded_loop", "loops that end", "5.3", (mov(R0, 0), add(R0, 1), jlt(R0, 8, -2), *_RETURN_0)),
    ("atomics", "atomics that fetch, and, or, xor, exchange", "5.12",
     (mov(R0, 0), stx(DW, R10, -8, R0), mov(R1, 1), atomic_add(DW, R10, -8, R1, fetch=True), exit_())),
    ("cpu_v4", "signed division, sign extension, byte swaps, long jumps", "6.6",
     (mov(R1, 7), sdiv(R1, 2), movsx(R1, R1, 8), bswap(R1, 64), stx(DW, R10, -8, R1), ldsx(B, R2, R10, -8),
      jeq(R2, 0, 1), gotol(1), mov(R2, 0), *_RETURN_0)),
    ("gotol", "long jumps", "6.6", (ldx(W, R0, R1), jeq(R0, 0, 1), gotol(1), mov(R0, 0), *_RETURN_0)),
    ("may_goto", "loops that the kernel bounds", "6.9", (mov(R0, 0), may_goto(1), goto(-2), exit_())),
    ("acquire_release", "load-acquire and store-release", "6.15",
     (mov(R0, 0), stx(DW, R10, -8, R0), load_acquire(DW, R1, R10, -8), store_release(DW, R10, -8, R1), exit_())),
)  # fmt: skip


def _instructions() -> Iterable[Feature]:
    for name, text, since, code in _INSTRUCTIONS:
        yield Feature(name, "instruction", text, since, partial(probes.insns, code))
    yield Feature("map_value", "instruction", "direct addresses of map values", "5.2", _map_value)
    yield Feature("fd_array", "instruction", "maps by their index in an array", "5.14", _fd_array)
    yield Feature(
        "kfunc", "instruction", "calls of kernel functions", "5.13", partial(_kernel_function, "bpf_iter_num_new")
    )
    yield Feature(
        "iter_num", "instruction", "loops by an iterator of numbers", "6.4",
        partial(_kernel_function, "bpf_iter_num_new"),
    )  # fmt: skip
    yield Feature("jit", "instruction", "compilation to machine code", "3.18", _jit)


#: helper, program type that asks, text, release
_HELPERS = (
    ("probe_read_kernel", ProgType.KPROBE, "reads that tell kernel from user addresses", "5.5"),
    ("get_current_ancestor_cgroup_id", ProgType.KPROBE, "ancestors of the current cgroup", "5.11"),
    ("send_signal", ProgType.KPROBE, "signals to the current process", "5.3"),
    ("ktime_get_boot_ns", ProgType.KPROBE, "time that counts suspension", "5.8"),
    ("get_ns_current_pid_tgid", ProgType.KPROBE, "process ids of a namespace", "5.7"),
    ("jiffies64", ProgType.KPROBE, "the count of timer ticks", "5.6"),
    ("ktime_get_tai_ns", ProgType.KPROBE, "international atomic time", "6.1"),
    ("get_attach_cookie", ProgType.KPROBE, "numbers given at attaching", "5.15"),
    ("copy_from_user", ProgType.SYSCALL, "reads of user memory that may fault", "5.10"),
    ("for_each_map_elem", ProgType.KPROBE, "a function for each element", "5.13"),
    ("snprintf", ProgType.KPROBE, "formatting", "5.13"),
    ("get_func_ip", ProgType.KPROBE, "the address that was probed", "5.15"),
    ("loop", ProgType.KPROBE, "loops by callback", "5.17"),
    ("get_func_ret", ProgType.TRACING, "arguments and result of any function", "5.17"),
    ("dynptr_from_mem", ProgType.KPROBE, "pointers of run-time size", "5.19"),
    ("probe_write_user", ProgType.KPROBE, "writes to user memory", "4.8"),
)


def _helpers() -> Iterable[Feature]:
    for name, kind, text, since in _HELPERS:
        yield Feature(f"helper_{name}", "helper", f"{text} (bpf_{name})", since, partial(helper, name, kind))


def _types() -> Iterable[Feature]:
    kinds = (
        # words of struct btf_type and what follows; 1 is the offset of the name "i", and the id of a u32
        ("btf", "BTF", "4.18", ()),
        ("btf_func", "functions, for func_info and line_info", "5.0", (0, 13 << 24, 1, 1, 12 << 24, 2)),
        ("btf_var", "global variables", "5.2", (1, 14 << 24, 1, 1)),
        ("btf_func_global", "global functions", "5.6", (0, 13 << 24, 1, 1, 12 << 24 | 1, 2)),
        ("btf_float", "floating point", "5.13", (1, 16 << 24, 4)),
        ("btf_decl_tag", "tags of declarations", "5.16", (1, 8 << 24, 1, 1, 17 << 24, 2, 0xFFFFFFFF)),
        ("btf_type_tag", "tags of types", "5.17", (1, 18 << 24, 1)),
        ("btf_enum64", "enumerations of 64 bits", "6.0", (1, 19 << 24 | 1, 8, 1, 0, 0)),
    )
    vmlinux = partial(_file, "/sys/kernel/btf/vmlinux")
    yield Feature("btf_vmlinux", "type", "types of the kernel", "5.4", vmlinux)
    for name, text, since, words in kinds:
        yield Feature(name, "type", f"BTF: {text}" if words else text, since, partial(probes.btf_types, *words))


def _commands() -> Iterable[Feature]:
    row = partial(Feature, group="command")
    batches = {
        MapType.HASH: "5.6", MapType.ARRAY: "5.6", MapType.PERCPU_HASH: "5.6", MapType.PERCPU_ARRAY: "5.13",
        MapType.LRU_HASH: "5.6", MapType.LPM_TRIE: "5.7",
    }  # fmt: skip
    for kind, since in batches.items():
        name = "batch" if kind is MapType.HASH else f"batch_{kind.name.lower()}"
        text = f"many elements in one call, {kind.name.lower()}"
        yield row(name, text=text, since=since, probe=partial(_batch, kind))
    yield row("lookup_and_delete_hash", text="take an element out of a hash map", since="5.14", probe=_take_from_hash)
    yield row("map_freeze", text="maps that user space may no longer write", since="5.2", probe=_freeze)
    yield row("mmap_array", text="arrays mapped into memory", since="5.5",
              probe=partial(probes.map_type, MapType.ARRAY, map_flags=MapFlags.MMAPABLE))  # fmt: skip
    yield row("test_run", text="run a program on given data", since="4.12",
              probe=partial(_test_run, ProgType.SOCKET_FILTER, data_in=bytes(64), data_size_in=64))  # fmt: skip
    yield row("test_run_raw_tp", text="run a raw tracepoint program", since="5.10",
              probe=partial(_test_run, ProgType.RAW_TRACEPOINT))  # fmt: skip
    yield row("comm_padded", text="bpf_get_current_comm writes zeros behind the name", since="6.2", probe=_comm_padded)
    yield row("test_run_syscall", text="run a syscall program", since="5.14",
              probe=partial(_test_run, ProgType.SYSCALL, ProgFlags.SLEEPABLE))  # fmt: skip
    yield row("object_ids", text="list programs and maps", since="4.13",
              probe=partial(probes.command, Cmd.PROG_GET_NEXT_ID, errno.ENOENT))  # fmt: skip
    yield row("btf_ids", text="list BTF", since="5.4",
              probe=partial(probes.command, Cmd.BTF_GET_NEXT_ID, errno.ENOENT))  # fmt: skip
    yield row("link_ids", text="list links", since="5.8",
              probe=partial(probes.command, Cmd.LINK_GET_NEXT_ID, errno.ENOENT))  # fmt: skip
    yield row("enable_stats", text="run-time statistics", since="5.8",
              probe=partial(probes.command, Cmd.ENABLE_STATS, type=0))  # fmt: skip
    yield row("token", text="delegation of BPF to containers", since="6.9",
              probe=partial(probes.command, Cmd.TOKEN_CREATE, errno.EBADF, bpffs_fd=0xFFFFFFFF))  # fmt: skip
    yield row("memcg_accounting", text="memory charged to the cgroup, not to RLIMIT_MEMLOCK", since="5.11",
              probe=partial(helper, "ktime_get_coarse_ns", ProgType.SOCKET_FILTER))  # fmt: skip
    yield row("bpffs", text="a file system for pinning", since="4.4", probe=_bpffs)


_GROUPS = (_maps, _programs, _attach, _instructions, _helpers, _types, _commands)

#: name -> row, in the order in which people read it
FEATURES: Mapping[str, Feature] = MappingProxyType({row.name: row for group in _GROUPS for row in group()})


class _Results(dict[str, Result]):
    """name -> result. What was not allowed is tried again: a process can gain privileges."""

    def __missing__(self, name: str) -> Result:
        row = FEATURES.get(name)
        if row is None:
            raise NotFoundError(f"there is no feature {name!r}; pybpf.sys.features.FEATURES has them all")
        try:
            result = row.probe()
        except OSError as error:
            result = judge(error)
        if result.support is not Support.NOT_ALLOWED:
            self[name] = result
        return result


_RESULTS = _Results()


def probe(name: str) -> Result:
    """What is known of a feature; tried at the first call and remembered.

    :raises NotFoundError: :data:`FEATURES` has no such name.
    """
    return _RESULTS[name]


def has(name: str) -> bool:
    """Whether this kernel has a feature and this process may use it. :raises NotFoundError: as :func:`probe`."""
    return bool(probe(name))


def all_features() -> dict[str, Result]:
    """The result of every row of :data:`FEATURES`."""
    return {name: probe(name) for name in FEATURES}
