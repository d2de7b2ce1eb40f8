"""The checks behind error messages: each looks at the system and tells one cause of a failed call, or nothing."""

from __future__ import annotations

import errno
import mmap
import os
import resource
from collections.abc import Callable, Mapping
from typing import Any, Optional

from pybpf.arch import host_arch
from pybpf.errors import KernelError, PermissionDenied, UnsupportedError
from pybpf.lazy import regex
from pybpf.record import NamedTuple
from pybpf.sys.bpf import AttachType, Attr, Cmd, MapFlags, MapType, ProgFlags, ProgType, bpf_raw
from pybpf.sys.cpus import nr_cpu_ids, online_cpus, parse_cpu_list
from pybpf.sys.libc import syscall
from pybpf.sys.memlock import call_charged
from pybpf.sys.perf import PerfType
from pybpf.sys.privilege import Privileges, and_list, sysctl

__all__ = ["Cause", "Check", "Failure"]


class Cause(NamedTuple):
    """Why a call failed."""

    text: str
    advice: str = ""
    kind: type[KernelError] | None = None  #: the class to raise; None: as the errno says


class Failure(NamedTuple):
    """What a check can look at."""

    what: str  #: the kind of operation, see :func:`pybpf.sys.explain.explain`
    errno: int
    request: Attr | Mapping[str, Any] | None  #: the arguments of bpf(2) or perf_event_open(2), where known
    needs: tuple[str, ...]  #: features that the caller knows it needs
    state: Privileges

    @property
    def attr(self) -> Attr:
        """The attr of bpf(2). :raises LookupError: it was another call."""
        if not isinstance(self.request, Attr):
            raise LookupError("the call was not bpf(2)")
        return self.request

    @property
    def event(self) -> Mapping[str, Any]:
        """The arguments of perf_event_open(2). :raises LookupError: it was another call."""
        if self.request is None or isinstance(self.request, Attr):
            raise LookupError("the call was not perf_event_open(2)")
        return self.request


#: A check gives None when its cause is not the one. It may raise: that counts as None.
Check = Callable[[Failure], Optional[Cause]]

# ---- privileges

#: kind of operation -> capabilities; what is not here takes none of its own
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "map_create": ("CAP_BPF",),
    "btf_load": ("CAP_BPF",),
    "test_run": ("CAP_BPF", "CAP_PERFMON"),
    "prog_load": ("CAP_BPF", "CAP_PERFMON"),
    "attach": ("CAP_BPF", "CAP_PERFMON"),
    "link_create": ("CAP_BPF", "CAP_PERFMON"),
    "perf_event": ("CAP_PERFMON",),
    "obj_id": ("CAP_SYS_ADMIN",),
    "stats": ("CAP_SYS_ADMIN",),
    "tracefs": ("CAP_DAC_READ_SEARCH",),
    "tracefs_write": ("CAP_DAC_OVERRIDE",),
}
_GATED = frozenset({"map_create", "prog_load", "btf_load"})
#: what needs other capabilities than most of its kind (kernel/bpf/syscall.c)
_MAPS_OF_NETWORK = frozenset(
    {MapType.SOCKMAP, MapType.SOCKHASH, MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.XSKMAP}
)
_PROGRAMS_OF_BPF = frozenset({ProgType.SOCKET_FILTER, ProgType.CGROUP_SKB, ProgType.SYSCALL, ProgType.SK_REUSEPORT})
_PROGRAMS_OF_TRACING = frozenset({
    ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.PERF_EVENT, ProgType.RAW_TRACEPOINT,
    ProgType.RAW_TRACEPOINT_WRITABLE, ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.EXT,
})  # fmt: skip


def lack(missing: list[str], state: Privileges) -> Cause:
    """Capabilities are missing: which, and what to do."""
    text = f"this process lacks {and_list(missing)}"
    if not state.initial_user_ns:
        text += ": it is in a user namespace of its own, whose capabilities do not count here"
        return Cause(text, "run it outside of the user namespace, as root", PermissionDenied)
    advice = (
        f"run as root, or give it {and_list(missing)} (setcap, setpriv --ambient-caps, "
        "or AmbientCapabilities= of a systemd unit)"
    )
    return Cause(text, advice, PermissionDenied)


def _needed(failure: Failure) -> tuple[str, ...]:
    if failure.what == "map_create" and _get(failure, "map_type") in _MAPS_OF_NETWORK:
        return ("CAP_NET_ADMIN",)
    if failure.what == "prog_load" and isinstance(failure.request, Attr):
        kind = failure.request["prog_type"]
        if kind in _PROGRAMS_OF_BPF:
            return ("CAP_BPF",)
        return ("CAP_BPF", "CAP_PERFMON" if kind in _PROGRAMS_OF_TRACING else "CAP_NET_ADMIN")
    if failure.what == "perf_event" and _pmu(failure) == "uprobe":
        return ("CAP_SYS_ADMIN",)
    return _NEEDED.get(failure.what, ())


def capabilities(failure: Failure) -> Cause | None:
    """Something that the operation needs is missing."""
    state = failure.state
    needed = _needed(failure)
    missing = state.missing(*needed)
    if not missing:
        return None
    text, advice, _ = lack(missing, state)
    if not state.initial_user_ns:
        return Cause(text, advice, PermissionDenied)
    if failure.what in _GATED and state.unprivileged_bpf_disabled:
        text += f" (kernel.unprivileged_bpf_disabled is {state.unprivileged_bpf_disabled})"
    if failure.what == "perf_event" and needed == ("CAP_PERFMON",) and state.perf_event_paranoid is not None:
        text += f" (kernel.perf_event_paranoid is {state.perf_event_paranoid})"
    return Cause(text, advice, PermissionDenied)


def seccomp(failure: Failure) -> Cause | None:
    """A seccomp filter refuses the system call: it answers where the kernel would have found another fault first."""
    if not failure.state.seccomp_filter:
        return None
    if failure.what == "perf_event":
        call = "perf_event_open(2)"
        refused = _errno_of_bad_perf_flags() != errno.EINVAL
    else:
        call = "bpf(2)"
        # before 5.8 or so an unprivileged process gets EPERM from the kernel first
        refused = failure.state.has("CAP_BPF") and bpf_raw(Cmd.MAP_CREATE, 0, 2 * 65536) == -failure.errno
    if not refused:
        return None
    return _by_seccomp("refuses", call)


def _by_seccomp(verb: str, call: str) -> Cause:
    return Cause(
        f"a seccomp filter of this process {verb} {call}",
        f"let the container's seccomp profile allow {call}, or run it outside of the container",
        PermissionDenied,
    )


def _errno_of_bad_perf_flags() -> int:
    try:
        syscall(host_arch().nr_perf_event_open, 0, 0, -1, -1, -1)  # every flag: EINVAL before all else
    except OSError as error:
        return error.errno or 0
    return 0


def missing_call(failure: Failure) -> Cause | None:
    """The system call does not exist, or its number is not known."""
    try:
        host_arch()
    except UnsupportedError as error:
        return Cause(error.cause, error.advice, UnsupportedError)
    perf = failure.what == "perf_event"
    call, option = ("perf_event_open(2)", "PERF_EVENTS") if perf else ("bpf(2)", "BPF_SYSCALL")
    # each sysctl is there exactly where the kernel has the call
    known = failure.state.perf_event_paranoid if perf else failure.state.unprivileged_bpf_disabled
    if failure.state.seccomp_filter and known is not None:
        return _by_seccomp("hides", call)
    if failure.state.seccomp_filter:
        text = f"{call} is missing from this kernel or hidden by a seccomp filter of this process"
        return Cause(text, "try it outside of the container")
    return Cause(f"this kernel has no {call}", f"it takes a kernel built with CONFIG_{option}", UnsupportedError)


def lockdown(failure: Failure) -> Cause | None:
    """The kernel is locked down: of what tracing does, integrity forbids single helpers only."""
    if failure.state.lockdown != "confidentiality":
        return None
    text = "the kernel is locked down (confidentiality), which forbids reading its memory"
    advice = "boot with lockdown=integrity, or without Secure Boot"
    return Cause(text, advice, PermissionDenied)


def locked_helper(name: str, state: Privileges) -> Cause | None:
    """The kernel is locked down, so that its programs may not call a helper."""
    if not state.locks(name):
        return None
    text = f"the kernel is locked down ({state.lockdown}), which forbids programs to call bpf_{name}"
    return Cause(text, "boot without lockdown= and without Secure Boot", PermissionDenied)


def charged(failure: Failure) -> Cause | None:
    """The limit of locked memory, on a kernel whose types say that it charges BPF to it."""
    from pybpf.sys.probes import CHARGES, kernel_type
    from pybpf.sys.vmlinux import FUNC

    return _memlock(failure) if kernel_type(FUNC, CHARGES) else None


def memlock(failure: Failure) -> Cause | None:
    """The same on a kernel that has no types: a probe tells, for which there may be too little memory, too."""
    return _memlock(failure) if _has_not("memcg_accounting") else None


def _memlock(failure: Failure) -> Cause | None:
    """The limit where it could not be raised without end."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]  # the soft one has been raised to it: call_charged
    if failure.state.memlock < 0 or limit < 0 or failure.state.has("CAP_SYS_RESOURCE"):
        return None
    return Cause(
        f"RLIMIT_MEMLOCK ({limit >> 10} KiB) is used up, and this kernel charges BPF memory to it",
        "raise it: ulimit -l unlimited, or give it CAP_SYS_RESOURCE",
        PermissionDenied,
    )


def perf_buffer_limit(failure: Failure) -> Cause | None:
    """Too much memory in perf buffers: the only reason of this call's EPERM."""
    state = failure.state
    if state.memlock < 0 or state.has("CAP_IPC_LOCK"):
        return None
    return Cause(
        f"the buffers take more than kernel.perf_event_mlock_kb ({sysctl('perf_event_mlock_kb')} KiB a CPU) "
        f"and RLIMIT_MEMLOCK ({state.memlock >> 10} KiB) allow",
        "use smaller buffers, raise ulimit -l, or give it CAP_IPC_LOCK",
        PermissionDenied,
    )


def paranoid(failure: Failure) -> Cause | None:
    """Kernels of Debian, Ubuntu and Android have levels above 2, on which CAP_PERFMON does not count."""
    level = failure.state.perf_event_paranoid
    if level is None or level <= 2 or failure.state.has("CAP_SYS_ADMIN"):
        return None
    text = f"kernel.perf_event_paranoid is {level}: above 2 only CAP_SYS_ADMIN may open perf events"
    return Cause(text, "run as root, or lower it: sysctl kernel.perf_event_paranoid=2", PermissionDenied)


def other_refusal(failure: Failure) -> Cause | None:
    """Every privilege that is known to matter is there."""
    if capabilities(failure):  # asked once more: the check may have failed
        return None
    return Cause(
        "the kernel refuses it, though this process has the capabilities that it takes",
        "look for a security module (SELinux, AppArmor, a BPF LSM program) or a restricted kernel",
    )


def read_only_map(failure: Failure) -> Cause | None:
    """The map may only be read, or only be written."""
    return Cause("the map is frozen, or was made or opened for the other direction only", kind=KernelError)


# ---- what the kernel lacks


def _has_not(name: str) -> Cause | None:
    """A cause when the kernel lacks a feature; None when it has it, or it cannot be told."""
    from pybpf.sys.features import FEATURES, Support, probe  # only a failure needs all that these modules load

    result = probe(name)
    if result.support is not Support.NO:
        return None
    row = FEATURES[name]
    return Cause(
        f"this kernel does not support {name} ({row.text}): {result.detail}",
        f"Linux {row.since} brought it, where it is configured",
        UnsupportedError,
    )


_ATTACH_FEATURES: Mapping[int, str] = {
    AttachType.TRACE_RAW_TP: "tp_btf", AttachType.TRACE_FENTRY: "fentry", AttachType.TRACE_FEXIT: "fexit",
    AttachType.MODIFY_RETURN: "fmod_ret", AttachType.TRACE_ITER: "iter", AttachType.PERF_EVENT: "perf_link",
    AttachType.TRACE_KPROBE_MULTI: "kprobe_multi", AttachType.TRACE_UPROBE_MULTI: "uprobe_multi",
    AttachType.TRACE_KPROBE_SESSION: "kprobe_session", AttachType.TRACE_UPROBE_SESSION: "uprobe_session",
}  # fmt: skip


def features(failure: Failure) -> Cause | None:
    """A feature that the caller named, or that the arguments of the call ask for."""
    from pybpf.sys.features import FEATURES

    names = [*failure.needs, *(name for name in _asked(failure) if name in FEATURES)]
    causes = (_has_not(name) for name in dict.fromkeys(names))
    return next((cause for cause in causes if cause), None)


def _asked(failure: Failure) -> list[str]:
    """The features that the arguments of a bpf(2) call use."""
    if not isinstance(failure.request, Attr):
        return []
    attr = failure.request
    names: list[str] = []
    if attr.cmd == Cmd.MAP_CREATE:
        names.append(_member_name(MapType, attr["map_type"]))
        if attr["map_flags"] & MapFlags.MMAPABLE and attr["map_type"] == MapType.ARRAY:
            names.append("mmap_array")
    elif attr.cmd == Cmd.PROG_LOAD:
        names.append("prog_" + _member_name(ProgType, attr["prog_type"]))
        names.append(_ATTACH_FEATURES.get(attr["expected_attach_type"], ""))
        if attr["prog_flags"] & ProgFlags.SLEEPABLE:
            names.append("sleepable_uprobe" if attr["prog_type"] == ProgType.KPROBE else "sleepable")
    elif attr.cmd == Cmd.LINK_CREATE:
        names.append(_ATTACH_FEATURES.get(attr["attach_type"], ""))
    elif attr.cmd == Cmd.RAW_TRACEPOINT_OPEN:
        names.append("raw_tp" if attr["name"] else "fentry")
        if attr["cookie"]:
            names.append("raw_tp_cookies")
    elif attr.cmd in (Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID):
        names.append("link_ids")
    elif attr.cmd in (Cmd.BTF_GET_NEXT_ID, Cmd.BTF_GET_FD_BY_ID):
        names.append("btf_ids")
    elif attr.cmd == Cmd.ENABLE_STATS:
        names.append("enable_stats")
    return names


def _member_name(enum: type[MapType] | type[ProgType], value: int) -> str:
    return enum(value).name.lower()


def unknown_field(failure: Failure) -> Cause | None:
    """The kernel's attr is shorter than what was used of ours."""
    if failure.attr.known():
        return None
    text = f"this kernel's bpf(2) does not know the field {failure.attr.last_field()!r}"
    return Cause(text, "it takes a newer kernel", UnsupportedError)


def not_compiled(failure: Failure) -> Cause | None:
    """ENOTSUPP of a program load."""
    from pybpf.sys.features import FEATURES, Support, probe

    lacking = [row.name for row in FEATURES.values() if row.group == "instruction"
               and probe(row.name).support is Support.NO]  # fmt: skip
    if not lacking:
        return None
    text = f"the kernel can neither compile nor interpret the program; it lacks the instructions {and_list(lacking)}"
    return Cause(text, kind=UnsupportedError)


# ---- arguments

_NAME = regex(rb"[A-Za-z0-9_]*(\.[A-Za-z0-9_.]*)?")
_PERCPU = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
_RINGS = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF})
_ARRAYS = frozenset({
    MapType.ARRAY, MapType.PERCPU_ARRAY, MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY, MapType.ARRAY_OF_MAPS,
    MapType.CGROUP_ARRAY,
})  # fmt: skip
_COUNTED = _ARRAYS | _PERCPU | {
    MapType.HASH, MapType.LRU_HASH, MapType.HASH_OF_MAPS, MapType.LPM_TRIE, MapType.STACK_TRACE, MapType.QUEUE,
    MapType.STACK, MapType.BLOOM_FILTER,
}  # fmt: skip
_KEY_MOST = 512  # MAX_BPF_STACK of include/linux/filter.h
_VALUE_MOST = 1 << 20  # every kernel takes values of so many bytes; the limit is KMALLOC_MAX_SIZE, 4 MiB or more
_TRIE_LEAST, _TRIE_MOST = 5, 260  # LPM_KEY_SIZE_MIN and _MAX of kernel/bpf/lpm_trie.c
_HASHES_MOST = 15
_PERCPU_MOST = 32 << 10  # PCPU_MIN_UNIT_SIZE of include/linux/percpu.h


def map_sizes(failure: Failure) -> Cause | None:
    """A size that no kernel takes."""
    attr = failure.attr
    kind, key, value, entries = (attr[name] for name in ("map_type", "key_size", "value_size", "max_entries"))
    if kind in _RINGS and (entries & (entries - 1) or entries % mmap.PAGESIZE or not entries):
        return Cause(f"its size, {entries}, is not a power of two of at least a page ({mmap.PAGESIZE} bytes)")
    if kind in _RINGS and (key or value):
        return Cause("a ring buffer has neither keys nor values")
    if kind in _ARRAYS and key != 4:
        return Cause(f"an array's key has 4 bytes, not {key}")
    if kind == MapType.LPM_TRIE and not _TRIE_LEAST <= key <= _TRIE_MOST:
        return Cause(
            f"a trie's key has {_TRIE_LEAST} to {_TRIE_MOST} bytes, not {key}: a u32, how many leading bits count, and "
            "what they are bits of",
            "take Ipv4Prefix, Ipv6Prefix, or a Struct whose first field is a u32",
        )
    if kind == MapType.BLOOM_FILTER and attr["map_extra"] > _HASHES_MOST:
        return Cause(f"a bloom filter has 1 to {_HASHES_MOST} hash functions, not {attr['map_extra']}")
    if kind in _COUNTED and not entries:
        return Cause("max_entries is 0: it needs room for one element at least")
    if kind in _PERCPU and value > _PERCPU_MOST:
        return Cause(f"a per-CPU value has at most {_PERCPU_MOST} bytes, not {value}")
    if kind == MapType.STACK_TRACE and value > 8 * (sysctl("perf_event_max_stack") or value):
        return Cause(f"the stacks are deeper than kernel.perf_event_max_stack ({sysctl('perf_event_max_stack')})")
    return None


def no_numa_node(failure: Failure) -> Cause | None:
    """A NUMA node that the machine does not have, or that is offline."""
    if not failure.attr["map_flags"] & MapFlags.NUMA_NODE:
        return None
    with open("/sys/devices/system/node/online", encoding="ascii") as file:
        online = file.read().strip()
    node = failure.attr["numa_node"]
    if node in parse_cpu_list(online):
        return None
    return Cause(f"NUMA node {node} is not online; those that are: {online}")


def map_flags(failure: Failure) -> Cause | None:
    """A flag without which the kernel makes the map; it is made, for a moment."""
    attr = failure.attr
    bits = attr["map_flags"]
    each = [1 << bit for bit in range(32) if bits >> bit & 1]
    for wrong in [*each, bits] if len(each) > 1 else each:
        attr["map_flags"] = bits & ~wrong
        try:
            os.close(call_charged(attr))
        except OSError:
            continue
        finally:
            attr["map_flags"] = bits
        names = [str(flag.name) for flag in MapFlags if wrong & flag]
        rest = wrong & ~sum(flag.value for flag in MapFlags)
        what = and_list([*names, *([hex(rest)] if rest else [])])
        return Cause(f"this kernel makes no {_member_name(MapType, attr['map_type'])} map with the flag {what}")
    return None


def too_large(failure: Failure) -> Cause | None:
    """E2BIG of a new map whose fields are known."""
    key, value, entries = (failure.attr[name] for name in ("key_size", "value_size", "max_entries"))
    if key <= _KEY_MOST and value <= _VALUE_MOST:
        return Cause(f"max_entries, {entries}, is too large for this kernel", "make it smaller")
    return Cause(f"keys of {key} or values of {value} bytes are too large for this kernel", "make them smaller")


def map_memory(failure: Failure) -> Cause | None:
    """ENOMEM of a new map."""
    attr = failure.attr
    size = attr["max_entries"] * (attr["key_size"] + attr["value_size"])
    text = f"the kernel has no memory for {attr['max_entries']} entries of some {size >> 20} MiB in all"
    return Cause(text, "make max_entries smaller, or raise the memory limit of the cgroup")


def object_name(failure: Failure) -> Cause | None:
    """A name with characters that the kernel does not take."""
    attr = failure.attr
    raw: bytes = attr["map_name" if attr.cmd == Cmd.MAP_CREATE else "prog_name"]
    name, _, rest = raw.partition(b"\0")
    if len(name) < len(raw) and not rest.strip(b"\0") and _NAME.fullmatch(name):
        return None
    return Cause(f"the name {name!r} is not of at most 15 of A-Z, a-z, 0-9, _ and .")


def no_instructions(failure: Failure) -> Cause | None:
    """E2BIG of a program load: the number of instructions."""
    count = failure.attr["insn_cnt"]
    if not count:
        return Cause("it has no instructions")
    if count > 1_000_000:
        return Cause(f"it has {count} instructions; the kernel takes a million")
    if count > 4096:
        text = f"it has {count} instructions; without CAP_BPF, and before Linux 5.2, the kernel takes 4096"
        return None if failure.state.has("CAP_BPF") and _has_not("bounded_loop") is None else Cause(text)
    return None


# ---- perf events


def _pmu(failure: Failure) -> str:
    """The name of the dynamic PMU that a perf event asked for, or ``""``."""
    if failure.request is None or isinstance(failure.request, Attr):
        return ""
    for name in ("kprobe", "uprobe"):
        try:
            with open(f"/sys/bus/event_source/devices/{name}/type", encoding="utf-8") as file:
                if int(file.read()) == failure.request.get("type"):
                    return name
        except OSError:
            continue
    return ""


def no_process(failure: Failure) -> Cause | None:
    """The process of a perf event has ended."""
    pid = failure.event["pid"]
    return Cause(f"there is no process {pid}") if pid > 0 and not os.path.exists(f"/proc/{pid}") else None


def no_counter(failure: Failure) -> Cause | None:
    """ENOENT of a perf event."""
    kind = failure.event.get("type")
    if kind in (PerfType.HARDWARE, PerfType.HW_CACHE, PerfType.RAW):
        return Cause(
            "this machine has no such hardware counter; virtual machines often have none",
            "use a software event: cpu-clock",
            UnsupportedError,
        )
    if _pmu(failure) == "kprobe":
        return Cause("the kernel has no function of that name that can be probed")
    return None


def no_cpu(failure: Failure) -> Cause | None:
    """EINVAL of a perf event, or ENODEV for a CPU that is offline: where it was to count."""
    pid, cpu = failure.event["pid"], failure.event["cpu"]
    if pid < 0 and cpu < 0:
        return Cause("it names neither a process nor a CPU", "open one event for each CPU, or name the process")
    if cpu >= nr_cpu_ids():
        return Cause(f"there is no CPU {cpu}: this machine's are below {nr_cpu_ids()}")
    if cpu >= 0 and cpu not in online_cpus():
        return Cause(f"CPU {cpu} is not online", "/sys/devices/system/cpu/online lists those that are")
    return None


def no_tracepoint(failure: Failure) -> Cause | None:
    """EINVAL of a perf event."""
    if failure.event.get("type") != PerfType.TRACEPOINT:
        return None
    return Cause(f"there is no tracepoint with id {failure.event.get('config')}, or perf may not use it")


def no_place(failure: Failure) -> Cause | None:
    """ENOTSUPP of a uprobe."""
    return Cause("the instruction there cannot be probed") if _pmu(failure) == "uprobe" else None


# ---- limits of the process


def descriptors(failure: Failure) -> Cause | None:
    """EMFILE: it has one meaning."""
    return Cause(
        f"this process has as many files open as it may (RLIMIT_NOFILE, {failure.state.nofile})",
        "raise it: ulimit -n, or LimitNOFILE= of a systemd unit",
    )


def _get(failure: Failure, field: str) -> int | None:
    value = failure.request[field] if isinstance(failure.request, Attr) else None
    return None if value is None else int(value)
