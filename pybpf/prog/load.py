"""Loading: a spec to a program in the kernel, and the reason when the kernel refuses."""

from __future__ import annotations

import ctypes
import errno
import mmap
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, Union

from pybpf.asm import HELPERS_BY_ID, KfuncRef, encode
from pybpf.errors import AsmError, KernelError, VerifierError
from pybpf.lazy import regex
from pybpf.prog.debug import functions, index_at, source_of
from pybpf.prog.spec import ProgramSpec
from pybpf.record import NamedTuple
from pybpf.sys.bpf import AttachType, Attr, Cmd, ProgFlags, ProgType
from pybpf.sys.explain import explain
from pybpf.sys.fd import Fd
from pybpf.sys.memlock import call_charged
from pybpf.sys.objects import type_name
from pybpf.sys.vdso import kernel_version

if TYPE_CHECKING:
    from pybpf.prog.verifier import Rejection

__all__ = ["LOG_LIMIT", "Descriptor", "HasFd", "Loaded", "load_program", "sanitized"]

#: The most of a log that is fetched, in bytes. Of a longer one the kernel gives the end since Linux 6.4.
LOG_LIMIT = 1 << 28
#: Tried in turn where the kernel does not say what it needs (before 6.4). The first is the most before Linux 5.2; what
#: is not written to costs nothing.
_LOG_SIZES = ((1 << 24) - 1, LOG_LIMIT)
#: What fields of attr that the kernel does not know give, without a log.
_TRY_ANOTHER_WAY = (errno.EINVAL, errno.E2BIG)

_ABOUT_BTF = regex(r"\b(?:func|line)_info\b")
_HELPER_REFUSED = regex(r"(?P<kind>unknown func|invalid func|cannot use helper) (?P<name>\w+)#(?P<id>\d+)")
#: what the program is for -> the feature that it needs of the kernel
_NEEDS = {
    AttachType.TRACE_RAW_TP: "tp_btf",
    AttachType.TRACE_FENTRY: "fentry",
    AttachType.TRACE_FEXIT: "fexit",
    AttachType.MODIFY_RETURN: "fmod_ret",
    AttachType.TRACE_ITER: "iter",
    AttachType.TRACE_KPROBE_MULTI: "kprobe_multi",
    AttachType.TRACE_UPROBE_MULTI: "uprobe_multi",
}
_SLOTS_ALWAYS = 4096
_JUMPS_AWAY = (0x95, 0x05, 0x06)  # exit, goto, gotol


class HasFd(Protocol):
    """A map, as far as loading is concerned."""

    @property
    def fd(self) -> Fd: ...


Descriptor = Union[HasFd, int]


class Loaded(NamedTuple):
    """A program in the kernel."""

    fd: Fd
    log: str
    """The verifier's log where it was asked for, or ``""``."""


class _Outcome(NamedTuple):
    fd: Fd | None
    error: OSError | None
    log: str


def load_program(
    spec: ProgramSpec, maps: Mapping[str, Descriptor], level: int = 0, fd_array: Sequence[Descriptor] = ()
) -> Loaded:
    """Load a program, with BTF where the kernel takes it.

    :param fd_array: what instructions refer to by index: ``ld_map_index``, ``ld_map_value_index``.
    :param level: the verifier's ``log_level``: 1 the path that failed, 2 everything, 4 statistics; 0 no log.
    :raises AsmError: the code cannot be encoded; a map that it names is not in ``maps``.
    :raises NotFoundError: the kernel lacks the function or tracepoint of ``attach_btf``, or a kernel function.
    :raises VerifierError: the verifier refused it.
    :raises KernelError: anything else.
    """
    if not isinstance(spec, ProgramSpec):
        raise AsmError(f"what is loaded is a ProgramSpec(ProgType...., code), not {type(spec).__name__}")
    action = f"load {type_name(spec.type)} program {spec.name!r}"
    with ExitStack() as owned:
        fields = _fields(spec, maps, fd_array, owned)
        if spec.attach_btf is not None:
            from pybpf.prog.target import attach_fields  # the kernel's type information is read only where it is needed

            fields.update(attach_fields(spec.attach_btf, spec.expected_attach_type, action, owned))
        ways: list[dict[str, Any]] = [{}]
        debug = _debug(spec, owned)
        if debug:
            ways.insert(0, debug)
        for way in ways:
            outcome = _try({**fields, **way}, level, spec.name)
            if outcome.fd is not None:
                return Loaded(outcome.fd, outcome.log)
            error = outcome.error or OSError(errno.EIO, "")
            from pybpf.prog.verifier import read_log  # most programs are taken

            rejection = read_log(outcome.log)
            if way and _ABOUT_BTF.search(rejection.reason):
                continue  # the kernel refuses the BTF, maybe for an instruction that it does not know
            if rejection.reason:
                raise _verifier_error(action, error, spec, rejection, outcome.log)
            if error.errno not in _TRY_ANOTHER_WAY:
                break
    raise _other_error(action, error, spec, fields["insn_cnt"])


def _debug(spec: ProgramSpec, owned: ExitStack) -> dict[str, Any]:
    if not spec.debug:
        return {}
    from pybpf.prog.typeinfo import debug_fields

    return debug_fields(spec.code, sanitized(spec.name) or "program", owned)


def sanitized(name: str) -> str:
    """A name as every kernel takes it: 15 letters, digits and ``_``."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)[:15]


def _fields(
    spec: ProgramSpec, maps: Mapping[str, Descriptor], fd_array: Sequence[Descriptor], owned: ExitStack
) -> dict[str, Any]:
    descriptors = [_descriptor(f"entry {index} of fd_array", each) for index, each in enumerate(fd_array)]
    named = {insn.ref.name for insn in spec.code.insns if isinstance(insn.ref, KfuncRef)}
    kfuncs: Mapping[str, int | tuple[int, int]] = {}
    if named:
        from pybpf.prog.target import kfunc_ids

        # index 0 means the kernel's own functions
        kfuncs, modules = kfunc_ids(named, max(len(descriptors), 1), owned)
        if modules:
            descriptors = [*(descriptors or [0]), *(each.fileno() for each in modules)]
    insns = encode(
        spec.code,
        maps={name: _descriptor(f"map {name!r}", each) for name, each in maps.items()},
        kfuncs=kfuncs,
        endian=sys.byteorder,
    )
    return {
        "prog_type": spec.type,
        "insn_cnt": len(insns) // 8,
        "insns": insns,
        "license": spec.license.encode("utf-8", "replace"),
        "prog_name": sanitized(spec.name).encode(),
        # the kernel takes SYSCALL programs no other way
        "prog_flags": spec.flags | (ProgFlags.SLEEPABLE if spec.type == ProgType.SYSCALL else 0),
        "expected_attach_type": spec.expected_attach_type,
        "fd_array": (ctypes.c_int32 * len(descriptors))(*descriptors) if descriptors else 0,
        # of kprobe programs only, and before Linux 5.0 only, the kernel wants its own version
        "kern_version": kernel_version() if spec.type == ProgType.KPROBE else 0,
    }


def _descriptor(what: str, given: Descriptor) -> int:
    """:raises AsmError: it is neither a number nor an object that has a descriptor."""
    if isinstance(given, int):
        return given
    try:
        return given.fd.fileno()
    except AttributeError:
        raise AsmError(f"{what} is {given!r:.60}: give an object of pybpf.maps, or a descriptor") from None


def _try(fields: dict[str, Any], level: int, name: str) -> _Outcome:
    """Load without a log first, which is faster and cannot fail for the log's sake; then again for the log."""
    error: OSError | None = None
    if not level:
        try:
            return _Outcome(_call(Attr(Cmd.PROG_LOAD, **fields), name), None, "")
        except OSError as caught:
            error = caught
    logged = _try_logged(fields, level or 1, name)
    return logged if logged.fd is not None else logged._replace(error=error or logged.error)


def _try_logged(fields: dict[str, Any], level: int, name: str) -> _Outcome:
    """Load with a log; a log that is too small makes the kernel refuse any program (ENOSPC), so it grows."""
    outcome, size = _Outcome(None, None, ""), _LOG_SIZES[0]
    while size:
        with mmap.mmap(-1, size) as memory:  # unlike other buffers it costs nothing until it is written
            attr = Attr(Cmd.PROG_LOAD, **fields, log_level=level, log_size=size, log_buf=_address(memory))
            fd, error = None, None
            try:
                fd = _call(attr, name)
            except OSError as caught:
                error = caught
            log = _text(memory)
        if error and error.errno == errno.EINVAL and outcome.log and not log:
            return outcome  # a log of this size is too large for the kernel (before Linux 5.2)
        outcome = _Outcome(fd, error, log)
        if error is None or error.errno != errno.ENOSPC:
            break
        size = _next_size(size, attr["log_true_size"])
    return outcome


def _next_size(size: int, wanted: int) -> int:
    """How large a log to try after one of ``size`` was too small; 0 when that cannot be the reason, or is the limit.

    :param wanted: what the kernel says that it needs; 0 before Linux 6.4.
    """
    if wanted:
        return min(wanted, LOG_LIMIT) if wanted > size < LOG_LIMIT else 0
    return next((more for more in _LOG_SIZES if more > size), 0)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _text(memory: mmap.mmap) -> str:
    end = memory.find(b"\0")
    return memory[: end if end >= 0 else len(memory)].decode("utf-8", "replace")


def _call(attr: Attr, name: str) -> Fd:
    """:raises OSError: plain."""
    while True:
        try:
            return Fd(call_charged(attr), f"program {name}")
        except BlockingIOError:  # EAGAIN: a signal came while the verifier was at work
            continue


def _verifier_error(action: str, error: OSError, spec: ProgramSpec, rejection: Rejection, log: str) -> VerifierError:
    from pybpf.prog.verifier import advice_for

    code, index = spec.code, _failing(spec, rejection)
    reason, advice = _about_helper(spec.type, rejection.reason) or (
        rejection.reason,
        advice_for(rejection.reason) or rejection.suggestion,
    )
    insn, source = rejection.insn, rejection.source
    if index is not None and index < len(code):
        if not insn or code.insns[index].ref is not None:  # a name says more than a number
            insn = str(code.insns[index])
        line = source_of(code, index, functions(code, spec.name))
        source = f"{line.file}:{line.line}: {line.text.strip()}" if line else ""
    slot = rejection.slot if index is None else code.slot(index)
    return VerifierError(action, error.errno or 0, reason, advice, log=log, insn=insn, insn_index=slot, source=source)


def _failing(spec: ProgramSpec, rejection: Rejection) -> int | None:
    """Index of the failing instruction."""
    code = spec.code
    if rejection.slot is not None:
        return index_at(code, rejection.slot)
    if "last insn is not" in rejection.reason:
        ends = [part.start - 1 for part in functions(code, spec.name)[1:]] + [len(code) - 1]
        return next((end for end in ends if code.insns[end].code not in _JUMPS_AWAY), None)
    return None


def _about_helper(kind: ProgType, reason: str) -> tuple[str, str] | None:
    """Reason and advice when a helper is not to be had: an old kernel does not even know its name."""
    refused = _HELPER_REFUSED.search(reason)
    helper = HELPERS_BY_ID.get(int(refused["id"])) if refused else None
    if refused is None or helper is None:
        return None
    named = reason.replace(f"unknown#{helper.id}", f"bpf_{helper.name}#{helper.id}")
    if refused["kind"] == "invalid func":
        return named, f"this kernel has no helper bpf_{helper.name}; it came with Linux {helper.since}"
    from pybpf.sys.causes import locked_helper
    from pybpf.sys.privilege import privileges

    locked = locked_helper(helper.name, privileges())
    if locked:
        return locked.text, locked.advice
    since = helper.programs.get(type_name(kind))
    some = f" ({since} has it for them)" if since else ""
    return named, f"{type_name(kind)} programs cannot call bpf_{helper.name} on this kernel{some}"


def _other_error(action: str, error: OSError, spec: ProgramSpec, slots: int) -> KernelError:
    if error.errno == errno.E2BIG and not 0 < slots <= _SLOTS_ALWAYS:
        cause = f"it has {slots} instructions" if slots else "it has no instructions"
        advice = f"the limit is 1000000, and {_SLOTS_ALWAYS} before Linux 5.2 or without CAP_BPF" if slots else ""
        return KernelError(action, errno.E2BIG, cause, advice)
    need = _NEEDS.get(spec.expected_attach_type)
    return explain(action, error, "prog_load", *([need] if need else []))
