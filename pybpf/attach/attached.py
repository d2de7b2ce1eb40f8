"""What a link is attached to, as data and in words: for links that other processes made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pybpf.errors import BpfError
from pybpf.sys.bpf import AttachType
from pybpf.sys.objects import (
    IterLink,
    Kind,
    KprobeMultiLink,
    LinkInfo,
    PerfLink,
    PerfLinkKind,
    RawTracepointLink,
    TracingLink,
    UprobeMultiLink,
    open_id,
    prog_info,
    type_name,
)
from pybpf.sys.perf import PerfType, Software

__all__ = ["in_words", "what_is_attached"]

_DEVICES = Path("/sys/bus/event_source/devices")
#: how probes of these kinds are called in `pybpf list probes`
_TRAMPOLINES: dict[int, str] = {
    AttachType.TRACE_RAW_TP: "rawtracepoint",
    AttachType.TRACE_FENTRY: "fentry",
    AttachType.TRACE_FEXIT: "fexit",
    AttachType.MODIFY_RETURN: "fmod_ret",
    AttachType.LSM_MAC: "lsm",
    AttachType.TRACE_ITER: "iter",
}
_FUNCTIONS = (AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN)
_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN


def what_is_attached(info: LinkInfo) -> dict[str, Any]:
    """Its ``kind``, as ``pybpf list probes`` calls it, and what the kernel tells of the place; empty for other links.

    Names of functions behind trampolines are looked up in the kernel's BTF, which takes CAP_SYS_ADMIN.
    """
    detail = info.detail
    if detail is None:
        return {}
    told = _READERS[type(detail)](info, detail)
    if getattr(detail, "cookie", 0):
        told["cookie"] = detail.cookie  # type: ignore[union-attr]
    return told


def in_words(told: dict[str, Any]) -> str:
    """``{"kind": "kprobe", "name": "tcp_connect", ...}`` -> ``"kprobe:tcp_connect"``; ``""`` of nothing."""
    if not told:
        return ""
    what = str(told.get("name") or told.get("path") or told.get("event") or "")
    if told.get("offset"):
        what += f"+{told['offset']:#x}" if what else f"{told['offset']:#x}"
    if "sites" in told:
        what += f"{' ' if what else ''}({told['sites']} places)"
    return f"{told['kind']}:{what}" if what else str(told["kind"])


def _raw_tracepoint(info: LinkInfo, detail: RawTracepointLink) -> dict[str, Any]:
    return {"kind": "rawtracepoint", "name": detail.name}


def _tracing(info: LinkInfo, detail: TracingLink) -> dict[str, Any]:
    kind = detail.attach_type
    try:
        name = _name_in_btf(info, detail)
    except (BpfError, OSError):
        name = None
    return {"kind": _TRAMPOLINES.get(kind) or type_name(kind), "name": name, "btf_id": detail.target_btf_id}


def _name_in_btf(info: LinkInfo, detail: TracingLink) -> str:
    """The function or tracepoint that the link's program was loaded for."""
    from pybpf.btf import Btf, btf_info  # types are read only for links that name theirs by a number

    with open_id(Kind.PROG, info.prog_id) as fd:
        program = prog_info(fd)
    with open_id(Kind.BTF, program.attach_btf_obj_id or detail.target_obj_id) as fd:
        which = btf_info(fd)
    types = Btf.vmlinux() if which.name == "vmlinux" else Btf.from_id(which.id)
    name = types.name(program.attach_btf_id or detail.target_btf_id)
    for prefix in ("btf_trace_", "bpf_lsm_", "bpf_iter_"):  # what a tracepoint, hook or iterator is called there
        name = name if detail.attach_type in _FUNCTIONS else name.removeprefix(prefix)
    return name if which.name in ("", "vmlinux") else f"{which.name}:{name}"


def _iterator(info: LinkInfo, detail: IterLink) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": "iter", "name": detail.target}
    return {**told, "map_id": detail.map_id} if detail.map_id else told


def _kprobes(info: LinkInfo, detail: KprobeMultiLink) -> dict[str, Any]:
    kind = "kretprobe" if detail.flags & _RETURN else "kprobe"
    return {"kind": kind, "sites": detail.sites, "missed": detail.missed}


def _uprobes(info: LinkInfo, detail: UprobeMultiLink) -> dict[str, Any]:
    kind = "uretprobe" if detail.flags & _RETURN else "uprobe"
    return {"kind": kind, "path": detail.path, "sites": detail.sites, "pid": detail.pid or None}


def _perf(info: LinkInfo, detail: PerfLink) -> dict[str, Any]:
    if detail.kind == PerfLinkKind.EVENT:
        event = _event(detail.event_type, detail.config)
        return {"kind": "perf_event", "event": event, "event_type": detail.event_type, "config": detail.config}
    told: dict[str, Any] = {"kind": type_name(detail.kind)}
    if detail.kind in (PerfLinkKind.UPROBE, PerfLinkKind.URETPROBE):
        return {**told, "path": detail.name, "offset": detail.offset}
    told["name"] = detail.name
    if detail.kind == PerfLinkKind.TRACEPOINT:
        return told
    return {**told, "offset": detail.offset, "address": detail.address or None, "missed": detail.missed}


def _event(kind: int, config: int) -> str:
    """An event in words, ``"cpu-clock"`` or ``"msr:0x1"``."""
    pmu = type_name(PerfType(kind)) if kind in PerfType.__members__.values() else _pmu(kind)
    if kind == PerfType.SOFTWARE or not pmu:  # the only PMUs that sysfs does not have are those of the clocks
        clocks = (Software.CPU_CLOCK, Software.TASK_CLOCK)
        known = Software.__members__.values() if kind == PerfType.SOFTWARE else clocks
        if config in known:
            return type_name(Software(config)).replace("_", "-")
    return f"{pmu or f'type {kind}'}:{config:#x}"


def _pmu(number: int) -> str:
    for path in _DEVICES.glob("*/type"):
        try:
            if int(path.read_text("ascii")) == number:
                return path.parent.name
        except (OSError, ValueError):
            continue
    return ""


_READERS: dict[type[Any], Callable[[LinkInfo, Any], dict[str, Any]]] = {
    RawTracepointLink: _raw_tracepoint,
    TracingLink: _tracing,
    IterLink: _iterator,
    KprobeMultiLink: _kprobes,
    UprobeMultiLink: _uprobes,
    PerfLink: _perf,
}
