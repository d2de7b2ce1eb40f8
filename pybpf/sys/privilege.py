"""What this process may do: capabilities, namespaces, seccomp, lockdown, limits and the sysctls that gate BPF."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from pybpf.record import NamedTuple

__all__ = ["Privileges", "and_list", "describe", "privileges", "sysctl"]

#: include/uapi/linux/capability.h, those that tracing asks for
_CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_NET_ADMIN": 12, "CAP_IPC_LOCK": 14, "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24, "CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39,
}  # fmt: skip
#: what CAP_SYS_ADMIN includes, as far as tracing asks for it
_IN_SYS_ADMIN = frozenset({"CAP_PERFMON", "CAP_BPF", "CAP_SYSLOG", "CAP_NET_ADMIN"})
#: inode of the initial user namespace, fixed: PROC_USER_INIT_INO of include/linux/proc_ns.h
_INITIAL_USER_NS = 0xEFFFFFFD
_SECCOMP_FILTER = 2
_LOCKDOWN = "/sys/kernel/security/lockdown"
#: modes of lockdown, each with all that the one before forbids
_MODES = ("none", "integrity", "confidentiality")
#: helper -> the mode that takes it from programs (bpf_tracing_func_proto of kernel/trace/bpf_trace.c)
_LOCKED_HELPERS = {
    "probe_write_user": "integrity", "probe_read": "confidentiality", "probe_read_str": "confidentiality",
    "probe_read_kernel": "confidentiality", "probe_read_kernel_str": "confidentiality",
}  # fmt: skip


class Privileges(NamedTuple):
    """The state of the calling thread; None or ``""`` where it cannot be read."""

    uid: int  #: effective
    capabilities: frozenset[str]  #: effective, of those that tracing asks for; they count only in the initial namespace
    known: frozenset[str]  #: those that this kernel has (CAP_PERFMON and CAP_BPF: Linux 5.8)
    initial_user_ns: bool
    seccomp_filter: bool
    lockdown: str  #: ``"none"``, ``"integrity"``, ``"confidentiality"``; ``""``: the kernel has none, or does not tell
    memlock: int  #: soft RLIMIT_MEMLOCK in bytes, -1: unlimited
    nofile: int  #: soft RLIMIT_NOFILE, -1: unlimited
    unprivileged_bpf_disabled: int | None
    perf_event_paranoid: int | None
    kptr_restrict: int | None

    def has(self, capability: str) -> bool:
        """Whether the process has a capability, itself or as a part of CAP_SYS_ADMIN, where the kernel asks for it."""
        if not self.initial_user_ns:
            return False
        return capability in self.capabilities or (capability in _IN_SYS_ADMIN and "CAP_SYS_ADMIN" in self.capabilities)

    def missing(self, *needed: str) -> list[str]:
        """Those of ``needed`` that the process lacks; on a kernel without them CAP_SYS_ADMIN stands for them."""
        asked = (name if name in self.known else "CAP_SYS_ADMIN" for name in needed)
        return [name for name in dict.fromkeys(asked) if not self.has(name)]

    @staticmethod
    def lockable(helper: str) -> bool:
        """Whether some mode of lockdown keeps programs from calling a helper."""
        return helper in _LOCKED_HELPERS

    def locks(self, helper: str) -> bool:
        """Whether the kernel's lockdown keeps programs from calling a helper, as ``"probe_write_user"``."""
        mode = _LOCKED_HELPERS.get(helper)
        return mode is not None and self.lockdown in _MODES[_MODES.index(mode) :]


def privileges() -> Privileges:
    """The state now; nothing is cached, since a process can drop and gain privileges."""
    status = _status()
    bits = int(status.get("CapEff", "0"), 16)
    last = sysctl("cap_last_cap")
    known = frozenset(name for name, bit in _CAPABILITIES.items() if last is None or bit <= last)
    return Privileges(
        uid=os.geteuid(),
        capabilities=frozenset(name for name in known if bits >> _CAPABILITIES[name] & 1),
        known=known,
        initial_user_ns=_initial_user_ns(),
        seccomp_filter=status.get("Seccomp") == str(_SECCOMP_FILTER),
        lockdown=_lockdown(),
        memlock=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        nofile=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        unprivileged_bpf_disabled=sysctl("unprivileged_bpf_disabled"),
        perf_event_paranoid=sysctl("perf_event_paranoid"),
        kptr_restrict=sysctl("kptr_restrict"),
    )


def describe() -> dict[str, str]:
    """The state for people, one line each: what -> how it is."""
    state = privileges()
    held = and_list(sorted(state.capabilities)) or "none of those that tracing needs"
    where = "" if state.initial_user_ns else " (in a user namespace of its own, where the kernel's BPF ignores them)"
    answers: dict[str, object] = {
        "user": state.uid,
        "capabilities": held + where,
        "seccomp filter": "yes" if state.seccomp_filter else "no",
        "lockdown": state.lockdown or "unknown",
        "locked memory limit": "none" if state.memlock < 0 else f"{state.memlock >> 10} KiB",
        "open files limit": "none" if state.nofile < 0 else state.nofile,
        "kernel.unprivileged_bpf_disabled": state.unprivileged_bpf_disabled,
        "kernel.perf_event_paranoid": state.perf_event_paranoid,
        "kernel.kptr_restrict": state.kptr_restrict,
    }
    return {name: "unknown" if value is None else str(value) for name, value in answers.items()}


def sysctl(name: str) -> int | None:
    """The number in ``/proc/sys/kernel/NAME``; None where there is none or it may not be read."""
    try:
        return int(_read(f"/proc/sys/kernel/{name}"))
    except (OSError, ValueError):
        return None


def and_list(names: Iterable[str]) -> str:
    """``["a", "b", "c"]`` -> ``"a, b and c"``."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _status() -> dict[str, str]:
    """The lines of proc(5)'s status file. Capabilities and seccomp belong to the thread, not to the process."""
    try:
        lines = _read("/proc/thread-self/status").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _initial_user_ns() -> bool:
    try:
        return os.stat("/proc/self/ns/user").st_ino == _INITIAL_USER_NS
    except OSError:  # no /proc, or a kernel without user namespaces
        return True


def _lockdown() -> str:
    try:
        try:
            text = _read(_LOCKDOWN)
        except FileNotFoundError:  # not mounted, as in containers and on small hosts
            from pybpf.sys.mount import detached_mount  # only here; no descriptor may be left for the file

            with detached_mount("securityfs") as root:
                fd = os.open("lockdown", os.O_RDONLY | os.O_CLOEXEC, dir_fd=root.fileno())
                with open(fd, encoding="ascii") as file:
                    text = file.read()
    except OSError:  # a kernel without it, or it may not be read
        return ""
    return text.partition("[")[2].partition("]")[0]
