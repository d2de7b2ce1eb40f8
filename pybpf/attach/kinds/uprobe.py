"""Probes at functions and instructions of programs and libraries.

Needs CAP_BPF and, for the perf events, CAP_SYS_ADMIN. The newest way that the kernel has is taken: a link of a perf
event with a cookie (Linux 5.15), a perf event with an ioctl (4.17), an event made through tracefs.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from pybpf.attach.check import check_type
from pybpf.attach.link import Link
from pybpf.attach.perf_link import link_perf_event
from pybpf.attach.pmu import ProbePmu, probe_pmu
from pybpf.attach.trace_event import TraceEvent
from pybpf.errors import BpfError, KernelError, NotFoundError, UnsupportedError
from pybpf.prog import Program
from pybpf.record import NamedTuple
from pybpf.symbols import ElfFile, find_binary
from pybpf.symbols.files import open_regular, show
from pybpf.sys.bpf import ProgType
from pybpf.sys.cpus import any_cpu
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.perf import PerfType, perf_event_open

__all__ = [
    "UserPlace",
    "attach_by_tracefs",
    "attach_place",
    "explain_place",
    "find_place",
    "place_in",
    "uprobe",
    "uretprobe",
]

_ENOTSUPP = 524
_MOST_REF_CTR_OFFSET = (1 << 32) - 1  # bits 32 to 63 of the event's config


class UserPlace(NamedTuple):
    """An instruction in a file."""

    path: str  #: what to open
    offset: int  #: in the file
    name: str  #: for messages: ``"/usr/lib/libc.so.6:malloc"``
    ref_ctr_offset: int = 0  #: file offset of the counter of listeners (of a USDT probe); 0: none
    kind: str = "uprobe"  #: for messages

    def target(self, ret: bool) -> str:
        """What a link to it is attached to, for messages: ``"uprobe:/usr/lib/libc.so.6:malloc"``."""
        return f"{'uretprobe' if ret else self.kind}:{self.name}"


def uprobe(
    program: Program,
    binary: str | None,
    symbol: str | None = None,
    *,
    offset: int = 0,
    address: int | None = None,
    pid: int | None = None,
    cookie: int | None = None,
) -> Link:
    """Run ``program`` whenever a process comes to a place in a program or library.

    :param program: of type KPROBE; its context is ``struct pt_regs``.
    :param binary: a path, a program on PATH or a library, see :func:`pybpf.symbols.find_binary`; None for the program
        that ``pid`` runs.
    :param symbol: a function, ``name`` or ``name@VERSION``.
    :param offset: bytes from the start of ``symbol``; there must be an instruction, which the kernel cannot check.
    :param address: instead of ``symbol``: a virtual address as the file has it, which ``nm`` prints.
    :param pid: only in this process, with all its threads; ``binary`` is then as this process sees it.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 5.15).
    :raises NotFoundError: there is no such file, function or process; the message says what comes close.
    :raises BpfError: the file is damaged, the place is outside its code, several functions have the name, or it is an
        indirect one.
    :raises KernelError: the kernel refused.
    """
    place = find_place(binary, symbol, offset=offset, address=address, pid=pid)
    return attach_place(program, place, pid=pid, cookie=cookie)


def uretprobe(
    program: Program,
    binary: str | None,
    symbol: str | None = None,
    *,
    address: int | None = None,
    pid: int | None = None,
    cookie: int | None = None,
) -> Link:
    """Run ``program`` whenever a function returns; parameters and errors as for :func:`uprobe`.

    There is no ``offset``: the kernel replaces the return address, which is where it looks only at function entry.
    """
    return attach_place(program, find_place(binary, symbol, address=address, pid=pid), ret=True, pid=pid, cookie=cookie)


def find_place(
    binary: str | None, symbol: str | None, *, offset: int = 0, address: int | None = None, pid: int | None = None
) -> UserPlace:
    """The place that the parameters of :func:`uprobe` mean, with the same errors."""
    found = find_binary(binary, pid)
    with ElfFile(found.path, found.name) as elf:
        if (symbol is None) == (address is None):
            raise BpfError(f"cannot probe {elf.name}: give either a function or an address")
        if symbol is not None:
            function = elf.function(symbol)
            return place_in(elf, symbol, function.address, offset, function.size)
        assert address is not None  # one of the two was given
        return place_in(elf, f"{address:#x}", address, offset)


def place_in(elf: ElfFile, label: str, address: int, offset: int = 0, size: int = 0) -> UserPlace:
    """The place ``offset`` bytes from a virtual address; ``size`` is that of the function there, 0 if unknown.

    :raises BpfError: it is outside the function, or outside the code of the file.
    """
    name = f"{elf.name}:{show(label)}" + (f"+{offset:#x}" if offset else "")
    if offset < 0 or (size and offset >= size):
        raise BpfError(f"cannot probe {name}: the function is {size} bytes long")
    at = elf.file_offset(address + offset, executable=True)
    if at is None:
        parts = [part for part in elf.segments if part.executable]
        code = ", ".join(f"{part.address:#x}-{part.address + part.file_size:#x}" for part in parts) or "nowhere"
        raise BpfError(f"cannot probe {name}: address {address + offset:#x} is outside the code of the file ({code})")
    return UserPlace(elf.path, at, name)


def attach_place(
    program: Program, place: UserPlace, *, ret: bool = False, pid: int | None = None, cookie: int | None = None
) -> Link:
    """What :func:`uprobe` and :func:`uretprobe` do once the place is known.

    :raises NotFoundError: there is no process ``pid``.
    :raises UnsupportedError: the kernel has no counters of listeners (before 4.20), and the place has one.
    :raises BpfError: the counter is too far into the file for a perf event.
    :raises KernelError: the kernel refused.
    """
    target = place.target(ret)
    check_type(program, target, ProgType.KPROBE)
    pmu = probe_pmu("uprobe")
    if place.ref_ctr_offset and (pmu is None or pmu.ref_ctr_shift is None):
        raise UnsupportedError(
            f"attach to {target}", errno.EOPNOTSUPP, "this kernel does not count the listeners of a probe (Linux 4.20)"
        )
    if place.ref_ctr_offset > _MOST_REF_CTR_OFFSET:
        raise BpfError(f"cannot attach to {target}: its counter of listeners is beyond the first 4 GiB of the file")
    if pmu is not None:
        event = _open(target, pid, **_pmu_fields(pmu, place, ret))
        return link_perf_event(program.fd, event, target, cookie=cookie)
    return attach_by_tracefs(program, place, ret=ret, pid=pid, cookie=cookie)


def attach_by_tracefs(
    program: Program, place: UserPlace, *, ret: bool = False, pid: int | None = None, cookie: int | None = None
) -> Link:
    """:func:`attach_place` where the kernel has no PMU for uprobes (before 4.17). Knows no counters of listeners."""
    target = place.target(ret)
    with open_regular(place.path) as file:  # by its number: names with spaces or colons would break the line
        definition = f"/proc/self/fd/{file.fileno()}:{place.offset:#x}"
        made = TraceEvent("uprobe_events", "r" if ret else "p", definition)
    try:
        event = _open(target, pid, type=PerfType.TRACEPOINT, config=made.id)
        return link_perf_event(program.fd, event, target, cookie=cookie, owned=(made,))
    except BaseException:
        made.close()
        raise


def _pmu_fields(pmu: ProbePmu, place: UserPlace, ret: bool) -> dict[str, Any]:
    config = int(ret) << pmu.return_bit
    if pmu.ref_ctr_shift is not None:
        config |= place.ref_ctr_offset << pmu.ref_ctr_shift
    return {
        "type": pmu.type,
        "config": config,
        "config1": os.fsencode(place.path) + b"\0",
        "config2": place.offset,
    }


def _open(target: str, pid: int | None, **fields: Any) -> Fd:
    try:
        if pid is None:
            return perf_event_open(pid=-1, cpu=any_cpu(), what=target, **fields)
        return perf_event_open(pid=pid, cpu=-1, what=target, **fields)
    except OSError as error:
        raise explain_place(error, target, pid) from None


def explain_place(error: OSError, target: str, pid: int | None, what: str = "perf_event") -> BpfError:
    """What to raise when the kernel refuses a place in a file; ``what`` as for :func:`pybpf.sys.explain.explain`."""
    if error.errno == errno.ESRCH and pid is not None:
        return NotFoundError(f"cannot attach to {target}: there is no process {pid}")
    if error.errno == _ENOTSUPP:
        cause = "the kernel cannot put a probe on the instruction at this place"
        return UnsupportedError(f"attach to {target}", _ENOTSUPP, cause, "choose another instruction of the function")
    found = explain(f"attach to {target}", error, what, "uprobe")
    if error.errno == errno.EINVAL and not found.cause:
        text = "another tracer may be there that counts its listeners elsewhere in the file, as those of USDT probes"
        advice = "if dmesg tells of a ref_ctr_offset, wait until it has ended"
        return KernelError(found.action, errno.EINVAL, text, advice)
    return found
