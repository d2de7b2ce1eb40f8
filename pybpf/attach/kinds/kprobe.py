"""Kprobes: any function of the kernel, at its entry, at an instruction inside it, or at its return.

Needs CAP_BPF and CAP_PERFMON. The newest way that the kernel has is taken: a link of a perf event (Linux 5.15), a perf
event with an ioctl (4.17), an event made through tracefs. Functions are not a stable interface: they come, go and are
inlined from release to release.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache

from pybpf.attach.check import check_type
from pybpf.attach.link import Link
from pybpf.attach.perf_link import link_perf_event
from pybpf.attach.pmu import ProbePmu, probe_pmu
from pybpf.attach.trace_event import TraceEvent
from pybpf.errors import BpfError, KernelError, NotFoundError, PackError, PermissionDenied, UnsupportedError
from pybpf.lazy import regex
from pybpf.prog import Program
from pybpf.record import NamedTuple
from pybpf.symbols import KernelFunction, kernel_functions
from pybpf.sys.bpf import ProgType
from pybpf.sys.cpus import any_cpu
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.near import did_you_mean
from pybpf.sys.perf import PerfType, perf_event_open

__all__ = [
    "KernelPlace",
    "ambiguous",
    "attach_by_tracefs",
    "attach_kernel_place",
    "kernel_function_lack",
    "kernel_place",
    "kprobe",
    "kretprobe",
    "no_kprobes",
    "not_found",
]

_MOST_LISTED = 8  # functions in a message
_PLACE = regex(
    r"(?:(?P<module>[\w.]+):)?(?P<name>[\w.$]+)(?:\+(?P<offset>0[xX][0-9a-fA-F]+|[1-9]\d{0,19}|0))?", re.ASCII
)


class KernelPlace(NamedTuple):
    """An instruction of the kernel."""

    name: str
    """Of the function; ``""`` for an address."""
    module: str
    """The module that has it; ``""``: not said."""
    offset: int
    """Bytes from the function's start; the address itself when there is no name."""

    def __str__(self) -> str:
        if not self.name:
            return f"{self.offset:#x}"
        module = f"{self.module}:" if self.module else ""
        return f"{module}{self.name}" + (f"+{self.offset:#x}" if self.offset else "")


def kprobe(program: Program, function: str | int, *, offset: int = 0, cookie: int | None = None) -> Link:
    """Run ``program`` whenever the kernel comes to a function, or to an instruction of it.

    :param program: of type KPROBE; its context is ``struct pt_regs``.
    :param function: ``"name"``, ``"module:name"``, either with ``"+offset"``; or an address.
    :param offset: bytes from the start of the function; an instruction must begin there.
    :param cookie: what ``bpf_get_attach_cookie`` returns in the program (Linux 5.15).
    :raises NotFoundError: there is no such function; the message says what comes close.
    :raises PackError: the address, the offset or the cookie is not an unsigned 64-bit number.
    :raises UnsupportedError: the kernel has no kprobes.
    :raises KernelError: the function or instruction cannot be probed, or the kernel refused for another reason.
    """
    return attach_kernel_place(program, kernel_place(function, offset), cookie=cookie)


def kretprobe(program: Program, function: str | int, *, cookie: int | None = None) -> Link:
    """Run ``program`` whenever a function returns; parameters and errors as for :func:`kprobe`.

    Hits are missed (see :attr:`~pybpf.attach.Link.missed`) when more calls are under way at a time than the kernel
    reserved room for: twice the number of CPUs, at least ten.
    """
    return attach_kernel_place(program, kernel_place(function), ret=True, cookie=cookie)


def kernel_place(function: str | int, offset: int = 0) -> KernelPlace:
    """What the parameters of :func:`kprobe` mean.

    :raises NotFoundError: ``function`` cannot be the name of one.
    :raises PackError: the address or offset is not an unsigned 64-bit number.
    """
    if isinstance(function, int):
        place = KernelPlace("", "", function + offset)
    else:
        match = _PLACE.fullmatch(function)
        if not match:
            raise NotFoundError(f"{function!r} is not a kernel function; write name, module:name or name+offset")
        place = KernelPlace(match["name"], match["module"] or "", int(match["offset"] or "0", 0) + offset)
    if not 0 <= place.offset < 1 << 64:
        what = "offset" if place.name else "address"
        raise PackError(f"cannot attach to a kprobe: the {what} is not a number from 0 to 2**64 - 1")
    return place


def attach_kernel_place(program: Program, place: KernelPlace, *, ret: bool = False, cookie: int | None = None) -> Link:
    """What :func:`kprobe` and :func:`kretprobe` do, with the same errors, once the place is known."""
    target = f"{'kretprobe' if ret else 'kprobe'}:{place}"
    check_type(program, target, ProgType.KPROBE)
    if ret and place.name and place.offset:
        raise KernelError(f"attach to {target}", errno.EINVAL, "a function has one return, whatever the offset")
    pmu = probe_pmu("kprobe")
    _check_unique(f"attach to {target}", place, pmu)
    if pmu is None:
        return attach_by_tracefs(program, place, ret=ret, cookie=cookie)
    event = _open(target, place, pmu, ret)
    return link_perf_event(program.fd, event, target, cookie=cookie)


def attach_by_tracefs(program: Program, place: KernelPlace, *, ret: bool = False, cookie: int | None = None) -> Link:
    """:func:`attach_kernel_place` where the kernel has no PMU for kprobes (before 4.17)."""
    target = f"{'kretprobe' if ret else 'kprobe'}:{place}"
    try:
        made = TraceEvent("kprobe_events", "r" if ret else "p", str(_by_name(place)))
    except (NotFoundError, KernelError) as error:
        if isinstance(error, KernelError) and error.errno in _PLACE_ERRORS:
            raise _explained(f"attach to {target}", error, place, ret) from None
        raise no_kprobes(f"attach to {target}") or error from None
    try:
        try:
            event = perf_event_open(pid=-1, cpu=any_cpu(), what=target, type=PerfType.TRACEPOINT, config=made.id)
        except OSError as error:
            raise explain(f"attach to {target}", error, "perf_event") from None
        return link_perf_event(program.fd, event, target, cookie=cookie, owned=(made,))
    except BaseException:
        made.close()
        raise


def kernel_function_lack(function: str) -> str:
    """Why a function of the kernel cannot be probed, or ``""`` if it can. Asks the kernel, which keeps nothing of it.

    :raises PermissionDenied: this process may not ask.
    """
    from pybpf.sys.features import probe  # a large table, of use only here and when something failed

    lacking = probe("kprobe")
    if not lacking:
        return lacking.detail
    place = kernel_place(function)
    pmu = probe_pmu("kprobe")
    try:
        if pmu is None:
            return "" if _functions(place) else f"there is no function {place} in this kernel"
        _open(f"kprobe:{place}", place, pmu, False).close()
    except PermissionDenied:
        raise
    except BpfError as error:
        return " ".join(str(error).split())
    return ""


def no_kprobes(action: str) -> UnsupportedError | None:
    """The error to raise when the kernel has no kprobes at all; None when it has."""
    from pybpf.sys.features import Support, probe  # a large table, of use only when something failed

    if probe("kprobe").support is not Support.NO:
        return None
    return UnsupportedError(
        action,
        errno.EOPNOTSUPP,
        "this kernel has no kprobes (it is built without CONFIG_KPROBES)",
        "use fentry, a tracepoint or a raw tracepoint instead",
    )


def _open(target: str, place: KernelPlace, pmu: ProbePmu, ret: bool) -> Fd:
    name, offset = place.name, place.offset
    if place.module:
        # "module:name" is not understood by every kernel here, and an address is.
        address = _module_address(place)
        name, offset = ("", address + offset) if address else (str(_by_name(place)._replace(offset=0)), offset)
    try:
        return perf_event_open(
            pid=-1,
            cpu=any_cpu(),
            what=target,
            type=pmu.type,
            config=int(ret) << pmu.return_bit,
            config1=name.encode() + b"\0" if name else 0,
            config2=offset,
        )
    except OSError as error:
        raise _explained(f"attach to {target}", error, place, ret) from None


def _check_unique(action: str, place: KernelPlace, pmu: ProbePmu | None) -> None:
    """:raises KernelError: several functions have that name, and the kernel would take one of them."""
    if not place.name or (not place.module and pmu and _refuses_ambiguous(pmu)):
        return
    found = _functions(place)
    if len(found) > 1:
        raise ambiguous(action, place, found)


@lru_cache(maxsize=1)
def _refuses_ambiguous(pmu: ProbePmu) -> bool:
    """Whether the kernel refuses a name that several functions have (6.7, and stable releases of that time)."""
    name = _shared_name()
    try:
        perf_event_open(cpu=any_cpu(), type=pmu.type, config1=name.encode("utf-8", "surrogateescape") + b"\0").close()
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL  # it counts the functions before it looks at one
    return False


def _shared_name() -> str:
    """The first name of the kernel's symbol table that two functions have; ``""`` where there is none."""
    seen: set[str] = set()
    try:
        for function in kernel_functions():
            if function.name in seen:
                return function.name
            seen.add(function.name)
    except BpfError:
        pass
    return ""


def _by_name(place: KernelPlace) -> KernelPlace:
    """The place as the kernel takes it: its own functions are in no module, also if ``vmlinux:`` says so."""
    return place._replace(module="") if place.module == "vmlinux" else place


def _module_address(place: KernelPlace) -> int:
    """The address of a module's function; 0 where the kernel hides addresses.

    :raises NotFoundError: it has none of that name.
    """
    for function in kernel_functions(f"{place.module}:{place.name}"):
        return function.address
    raise not_found(place)


#: what an impossible place gives; the same errno means other things elsewhere
_PLACE_ERRORS = (errno.ENOENT, errno.E2BIG, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EADDRNOTAVAIL)


def _explained(action: str, error: OSError, place: KernelPlace, ret: bool) -> BpfError:
    """What the kernel's answer to a place means; the answers differ by release and architecture."""
    number = error.errno or 0
    if number not in _PLACE_ERRORS or not place.name:
        return explain(action, error, "perf_event", "kprobe")
    found = _functions(place)
    if not found:
        return not_found(place)
    if number == errno.EADDRNOTAVAIL or len(found) > 1:
        return ambiguous(action, place, found)
    if number == errno.EILSEQ or (place.offset and not ret):
        return KernelError(action, number, f"no instruction that can be probed begins at {place}")
    cause = "the kernel does not let this function be probed"
    advice = "such functions are part of tracing itself, or of code that cannot be interrupted; choose a caller"
    return KernelError(action, number, cause, advice)


def ambiguous(action: str, place: KernelPlace, found: Collection[KernelFunction]) -> KernelError:
    """The error for a name that several functions have."""
    places = [f"{function.module or 'vmlinux'}{f' at {function.address:#x}' if function.address else ''}"
              for function in sorted(found, key=lambda each: each.address)]  # fmt: skip
    where = ", ".join(places[:_MOST_LISTED]) + (", ..." if len(places) > _MOST_LISTED else "")
    module = "its module, or " if len({function.module for function in found}) > 1 else ""
    cause = f"{len(found)} functions are named {place.name} ({where})"
    advice = f"give {module}the address, of the one that is meant"
    return KernelError(action, errno.EADDRNOTAVAIL, cause, advice)


def _functions(place: KernelPlace) -> list[KernelFunction]:
    pattern = f"{place.module}:{place.name}" if place.module else place.name
    try:
        return list(kernel_functions(pattern))
    except BpfError:
        return []


def not_found(place: KernelPlace) -> NotFoundError:
    """The error for a function that the kernel does not have; it says what comes close."""
    where = f"module {place.module!r}" if place.module else "this kernel"
    module = f"{place.module}:" if place.module else ""
    near = ""
    # those that start alike are found fast; the others take a few tenths of a second
    for pattern in (f"{place.name[:4]}*", f"*{place.name[-4:]}"):
        with suppress(BpfError):  # there is no symbol table
            near = near or did_you_mean(place.name, (each.name for each in kernel_functions(module + pattern)))
    return NotFoundError(f"there is no function {place.name!r} in {where}{near}")
