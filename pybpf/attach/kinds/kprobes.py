"""Kprobes at many functions at once: by one link where the kernel can (Linux 5.18; arm64: 6.14), else one by one."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Container, Mapping, Sequence
from typing import Any

from pybpf.attach.check import check_attach_type, check_type
from pybpf.attach.kinds.kprobe import (
    KernelPlace,
    ambiguous,
    attach_kernel_place,
    kernel_place,
    no_kprobes,
    not_found,
)
from pybpf.attach.link import Link, MultiLink
from pybpf.attach.many import MOST_AT_ONCE, NO_MAPS, attach_many, check_cookies_of, is_pattern, u64s
from pybpf.attach.perf_link import check_cookies
from pybpf.errors import BpfError, KernelError, NotFoundError
from pybpf.prog import Program, ProgramSpec
from pybpf.prog.load import HasFd
from pybpf.record import replace
from pybpf.symbols import KernelFunction, functions_named, kernel_functions
from pybpf.sys.bpf import AttachType, Cmd, ProgType, bpf
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.features import has
from pybpf.sys.tracefs import tracefs

__all__ = ["find_functions", "kprobe_multi", "kprobes", "traceable_functions"]

_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN
_BPF = "bpf"  # where the kernel's symbol table has BPF programs

Failures = list[tuple[str, BpfError]]


def kprobes(
    spec: ProgramSpec,
    functions: str | Sequence[str],
    *,
    maps: Mapping[str, HasFd] = NO_MAPS,
    cookies: Sequence[int] | None = None,
    ret: bool = False,
    skip_failures: bool = False,
) -> MultiLink:
    """Load a program and run it at the entry (or return) of many functions.

    The program is loaded here because the form for one link to all differs from that for one link each. The link owns
    it.

    :param spec: of type KPROBE.
    :param functions: ``"name"`` or ``"module:name"``, or shell patterns such as ``"tcp_*"`` or ``"nf_*:*"``
        (``vmlinux:`` for the kernel itself), which take the functions that can be traced. Several names of one
        function count once.
    :param maps: what the program's code refers to.
    :param cookies: for each of ``functions`` what ``bpf_get_attach_cookie`` returns there; then no patterns, and no
        function twice (5.15).
    :param ret: run it at return instead of entry.
    :param skip_failures: attach to the others when a function does not exist or cannot be probed, and list it in
        ``failures`` of the result.
    :raises NotFoundError: there is no such function, or nothing matches a pattern.
    :raises UnsupportedError: the kernel has no kprobes.
    :raises BpfError: as :func:`~pybpf.attach.kprobe.kprobe` (the function is named), and as ``Program.load``.
    """
    names = [functions] if isinstance(functions, str) else list(functions)
    check_cookies_of(names, cookies)
    at_once = has("kprobe_multi")
    if not at_once:
        lack = no_kprobes(f"attach to {_kind(ret)}:{names[0] if names else ''}")
        if lack:
            raise lack
    found, indices, failures = find_functions(names, at_once=at_once, distinct=cookies is None, skip=skip_failures)
    kind = AttachType.TRACE_KPROBE_MULTI if at_once else AttachType.NONE
    program = Program.load(replace(spec, expected_attach_type=kind), maps)

    def attach(part: Sequence[int]) -> Link:
        chosen = [found[index] for index in part]
        chosen_cookies = None if cookies is None else [cookies[indices[index]] for index in part]
        if at_once:
            return kprobe_multi(program, chosen, cookies=chosen_cookies, ret=ret)
        return _attach_one(program, chosen[0], ret, chosen_cookies[0] if chosen_cookies else None)

    try:
        check_type(program, _target(found, ret), ProgType.KPROBE)
        size = MOST_AT_ONCE if at_once else 1
        parts = [range(start, min(start + size, len(found))) for start in range(0, len(found), size)]
        links, refused = attach_many([_name(each) for each in found], attach, parts, skip_failures=skip_failures)
    except BaseException:
        program.close()
        raise
    return MultiLink(links, _target(found, ret), failures=[*failures, *refused], owned=(program,))


def kprobe_multi(
    program: Program, functions: Sequence[KernelFunction], *, cookies: Sequence[int] | None = None, ret: bool = False
) -> Link:
    """One link to many functions; it is made for all or for none.

    :param program: a KPROBE program that was loaded with ``expected_attach_type=AttachType.TRACE_KPROBE_MULTI``.
    :param cookies: one for each function.
    :raises PackError: a cookie does not fit into 64 bits.
    :raises KernelError: a function is bad (the kernel does not say which), or the kernel is older than 5.18.
    """
    target = _target(functions, ret)
    check_attach_type(program, target, AttachType.TRACE_KPROBE_MULTI)
    fields: dict[str, Any] = {"kprobe_multi_cnt": len(functions), "kprobe_multi_flags": _RETURN if ret else 0}
    if all(function.address for function in functions):
        fields["kprobe_multi_addrs"] = u64s(function.address for function in functions)
    else:  # the kernel hides them
        names = [function.name.encode("utf-8", "surrogateescape") for function in functions]
        fields["kprobe_multi_syms"] = (ctypes.c_char_p * len(names))(*names)
    if cookies is not None:
        check_cookies(cookies, target)
        fields["kprobe_multi_cookies"] = u64s(cookies)
    try:
        fd = bpf(Cmd.LINK_CREATE, prog_fd=program.fileno(), attach_type=AttachType.TRACE_KPROBE_MULTI, **fields)
    except OSError as error:
        raise explain(f"attach to {target}", error, "link_create", "kprobe_multi") from None
    return Link(Fd(fd, f"link to {target}"), target, program=program.fd)


def traceable_functions() -> dict[str, None] | None:
    """The functions that can be traced, each as ``"name"`` or ``"name [module]"``, in the kernel's order; None where it
    does not tell (without CONFIG_DYNAMIC_FTRACE, or without access to tracefs).
    """
    try:
        with tracefs() as files:
            return dict.fromkeys(files.read("available_filter_functions").splitlines())
    except BpfError:
        return None


def _can_trace(function: KernelFunction, traceable: Container[str] | None) -> bool:
    if traceable is None:
        return function.module != _BPF
    return (f"{function.name} [{function.module}]" if function.module else function.name) in traceable


def find_functions(
    names: Sequence[str], *, at_once: bool, distinct: bool = True, skip: bool = False
) -> tuple[list[KernelFunction], list[int], Failures]:
    """The functions that names and shell patterns mean, for each the index of its name, and what cannot be had.

    :param at_once: for :func:`kprobe_multi`, which takes only functions that can be traced.
    :param distinct: leave out functions that were there before; otherwise they cannot be had again, as each has only
        one cookie in a link to many.
    :param skip: leave out what cannot be had, unless that is all.
    :raises NotFoundError, BpfError: as :func:`kprobes`.
    """
    plain = {name.rpartition(":")[2] for name in names if not is_pattern(name)}
    known: dict[str, list[KernelFunction]] = {}
    for function in functions_named(plain) if plain else ():
        known.setdefault(function.name, []).append(function)
    traceable = traceable_functions() if at_once or len(plain) < len(names) else None
    found: dict[KernelFunction | int, tuple[KernelFunction, int]] = {}
    failures: Failures = []
    for index, name in enumerate(names):
        try:
            if is_pattern(name):
                chosen = [function for function in kernel_functions(name) if _can_trace(function, traceable)]
            else:
                chosen = _choose(kernel_place(name), known, traceable if at_once else None)
            if not chosen:
                raise NotFoundError(f"no function that can be traced matches {name!r}")
            for function in chosen:
                key = function.address or function  # some have several names
                if not distinct and key in found:
                    raise BpfError(f"cannot attach with cookies: {name!r} is {names[found[key][1]]!r} again")
                found.setdefault(key, (function, index))
        except BpfError as error:
            if not skip:
                raise
            failures.append((name, error))
    if not found:
        raise failures[0][1] if failures else BpfError("cannot attach: no functions are given")
    return [function for function, _ in found.values()], [index for _, index in found.values()], failures


def _choose(
    place: KernelPlace, known: Mapping[str, list[KernelFunction]], traceable: Container[str] | None
) -> list[KernelFunction]:
    """The one function that a name means; :raises BpfError: why there is none."""
    action = f"attach to kprobe:{place}"
    if place.offset or not place.name:
        raise KernelError(action, errno.EINVAL, "of many places at a time, each must be a function, without an offset")
    chosen = {each for each in known.get(place.name, ()) if place.module in ("", each.module or "vmlinux")}
    if not chosen:
        raise not_found(place)
    if len(chosen) > 1:
        raise ambiguous(action, place, chosen)
    if traceable is not None and not all(_can_trace(each, traceable) for each in chosen):
        raise KernelError(action, errno.EINVAL, "the kernel does not let this function be traced", "choose a caller")
    return list(chosen)


def _attach_one(program: Program, function: KernelFunction, ret: bool, cookie: int | None) -> Link:
    place = KernelPlace(function.name, function.module, 0)
    if function.address:  # names can mean several functions
        place = KernelPlace("", "", function.address)
    try:
        link = attach_kernel_place(program, place, ret=ret, cookie=cookie)
    except KernelError as error:
        error.action = f"attach to {_kind(ret)}:{_name(function)}"
        raise
    link.target = f"{_kind(ret)}:{_name(function)}"
    return link


def _kind(ret: bool) -> str:
    return "kretprobe" if ret else "kprobe"


def _name(function: KernelFunction) -> str:
    return f"{function.module}:{function.name}" if function.module else function.name


def _target(functions: Sequence[KernelFunction], ret: bool) -> str:
    more = f" and {len(functions) - 1} more" if len(functions) > 1 else ""
    return f"{_kind(ret)}:{_name(functions[0])}{more}"
