"""How a feature of the running kernel is tried: each function here makes one kind of attempt and judges the answer."""

from __future__ import annotations

import ctypes
import errno
import mmap
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from typing import Any

from pybpf.asm import R0, Code, Item, call, encode, exit_, find_helper, mov
from pybpf.errors import KernelError, errno_text
from pybpf.record import NamedTuple
from pybpf.sys.bpf import AttachType, Attr, Cmd, MapFlags, MapType, ProgType, bpf
from pybpf.sys.fd import Fd
from pybpf.sys.memlock import bpf_charged, call_charged
from pybpf.sys.privilege import and_list, privileges
from pybpf.sys.vdso import kernel_version
from pybpf.sys.vmlinux import FUNC, TYPEDEF, find_ids

__all__ = [
    "CHARGES",
    "NEWTASK",
    "NO",
    "QUIET",
    "QUIET_ERROR",
    "RETURN_0",
    "YES",
    "Result",
    "Support",
    "btf_types",
    "command",
    "helper",
    "insns",
    "judge",
    "kernel_type",
    "known_to_verifier",
    "lacks_privileges",
    "link",
    "made_map",
    "map_type",
    "program",
    "traced",
]

RETURN_0 = (mov(R0, 0), exit_())
_LOG_SIZE = 1 << 16
_HELPER_MISSING = ("unknown func", "cannot use helper", "invalid func")
#: not the feature's fault: trying again later may give another answer
_TRANSIENT = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EINTR})
_REFUSED = frozenset({errno.EPERM, errno.EACCES})


class Support(Enum):
    """What is known of a feature."""

    YES = "yes"
    NO = "no"
    NOT_ALLOWED = "not allowed"  #: this process may not try it (or lacks the memory or descriptors to)


class Result(NamedTuple):
    """The outcome of a probe."""

    support: Support
    detail: str = ""  #: what the kernel answered, for people
    errno: int = 0  #: why it could not be tried, where that is known

    def __bool__(self) -> bool:
        return self.support is Support.YES

    def __str__(self) -> str:
        return f"{self.support.value}: {self.detail}" if self.detail else self.support.value


YES, NO = Result(Support.YES), Result(Support.NO)


def judge(error: OSError, *, supported: tuple[int, ...] = (), denied: frozenset[int] = _REFUSED) -> Result:
    """What a failed attempt says of the feature.

    :param supported: errnos that only a kernel with the feature gives.
    :param denied: errnos that mean that this process may not.
    """
    number = error.errno or 0
    if number in supported:
        return YES
    text = errno_text(number)
    if number in _TRANSIENT:
        return Result(Support.NOT_ALLOWED, f"could not be tried: {text}", number)
    state = privileges()
    if number not in denied and not (number == errno.ENOSYS and state.seccomp_filter):
        return Result(Support.NO, text)
    if isinstance(error, KernelError) and error.cause:
        cause, advice = error.cause, error.advice
    else:
        from pybpf.sys.reasons import find_refusal  # only here: most hosts allow what they have

        found = find_refusal(error, state)
        cause, advice = found.text or text.partition(": ")[2], found.advice
    detail = f"{text.partition(':')[0]}: {cause}" + (f"; {advice}" if advice else "")
    return Result(Support.NOT_ALLOWED, detail, number)


def lacks_privileges() -> list[str]:
    """Which of the capabilities that tracing takes this process lacks."""
    return privileges().missing("CAP_BPF", "CAP_PERFMON")


class VerifierAnswer(OSError):
    """A program was refused, with this log."""

    log = ""
    request: Attr  #: as other errors of bpf(2) have it


def program(
    kind: ProgType, items: Iterable[Item] = RETURN_0, *, log: bool = False, map_fd: int = -1, **fields: Any
) -> Fd:
    """Load a small program, in which ``m`` is a map. :raises OSError: plain; with ``log`` a VerifierAnswer."""
    code = encode(Code(items), maps={"m": map_fd} if map_fd >= 0 else {}, endian=sys.byteorder)
    attr = Attr(Cmd.PROG_LOAD, prog_type=kind, insns=code, insn_cnt=len(code) // 8, license=b"GPL\0", **fields)
    if kind == ProgType.KPROBE:
        attr["kern_version"] = kernel_version()
    buffer = ctypes.create_string_buffer(_LOG_SIZE if log else 0)
    if log:
        attr["log_level"], attr["log_size"], attr["log_buf"] = 1, _LOG_SIZE, buffer
    try:
        return Fd(call_charged(attr), f"{kind.name.lower()} program")
    except OSError as error:
        if not log:
            raise
        answer = VerifierAnswer(error.errno, error.strerror)
        answer.log = buffer.value.decode("utf-8", "replace")
        answer.request = attr
        raise answer from None


def insns(items: Iterable[Item], kind: ProgType = ProgType.SOCKET_FILTER, **fields: Any) -> Result:
    """Whether the verifier takes these instructions: they must be reachable and harmless."""
    try:
        program(kind, items, log=True, **fields).close()
    except VerifierAnswer as error:
        if not error.log or error.errno in _TRANSIENT:  # the descriptor is made after the log
            return judge(error)
        # since Linux 7.3 a paragraph of advice follows the reason
        reasons = error.log.partition("\nVerification failed:")[0].splitlines()
        lines = [line for line in reasons if line and not line.startswith("processed ")]
        reason = lines[-1] if lines else errno_text(error.errno or 0)
        missing = lacks_privileges()  # the verifier forbids ordinary users some of what it knows
        if missing:
            return Result(Support.NOT_ALLOWED, f"{reason}; this process lacks {and_list(missing)}", errno.EPERM)
        return Result(Support.NO, reason)
    return YES


def known_to_verifier(kind: ProgType, **fields: Any) -> Result:
    """Whether a program of this type, with these fields, gets as far as the verifier, which writes a log."""
    try:
        program(kind, log=True, **fields).close()
    except VerifierAnswer as error:
        return YES if error.log else judge(error)
    return YES


class _Helpers(dict[tuple[str, ProgType], Result]):
    """(helper, program type) -> result. What was not allowed is tried again."""

    def __missing__(self, key: tuple[str, ProgType]) -> Result:
        result = _helper(*key)
        if result.support is not Support.NOT_ALLOWED:
            self[key] = result
        return result


_HELPERS = _Helpers()


def _helper(name: str, kind: ProgType) -> Result:
    fields: dict[str, int] = {}
    preferred = YES
    if kind == ProgType.TRACING:  # without a function it is refused before its calls are looked at
        fields = {"expected_attach_type": AttachType.TRACE_FEXIT, "attach_btf_id": kernel_type(FUNC, QUIET)}
        preferred = known_to_verifier(kind, **fields)
        if not preferred:  # some hosts allow tracepoints only
            fields = {"expected_attach_type": AttachType.TRACE_RAW_TP, "attach_btf_id": kernel_type(TYPEDEF, NEWTASK)}
    try:
        program(kind, (call(name), *RETURN_0), log=True, **fields).close()
    except VerifierAnswer as error:
        if not error.log:
            raise
        missing = [line for line in error.log.splitlines() if any(text in line for text in _HELPER_MISSING)]
        if not missing:
            return YES
        if "invalid func" in missing[-1]:  # no kernel of this age knows it
            return Result(Support.NO, missing[-1])
        return _why_not(name, kind, missing[-1], preferred)
    return YES


def _why_not(name: str, kind: ProgType, answer: str, preferred: Result) -> Result:
    """What the verifier's refusal of a helper says.

    :param preferred: what became of the kind of program that may call most helpers.
    """
    lacking, state = lacks_privileges(), privileges()
    why, number = "", errno.EPERM
    if lacking:  # ordinary users may not call all that there are
        why = f"{answer}; this process lacks {and_list(lacking)}"
    elif kind.name.lower() in find_helper(name).programs and state.locks(name):
        why = f"{answer}: the kernel is locked down ({state.lockdown})"
    elif kind.name.lower() in find_helper(name).programs and not state.lockdown and state.lockable(name):
        why = f"{answer}: whether the kernel is locked down cannot be read"
    elif preferred.support is Support.NOT_ALLOWED:
        why, number = f"could not be tried where it may be called: {preferred.detail}", preferred.errno
    return Result(Support.NOT_ALLOWED, why, number) if why else Result(Support.NO, answer)


def helper(name: str, kind: ProgType) -> Result:
    """Whether programs of a type may call a helper, in this kernel and its state of lockdown.

    :param name: as in the kernel's bpf.h, with or without ``bpf_``.
    :raises AsmError: there is no helper of that name.
    """
    try:
        return _HELPERS[find_helper(name).name, kind]
    except OSError as error:
        return judge(error)


def btf_blob(types: bytes, strings: bytes = b"\0") -> bytes:
    """A BTF blob of these types."""
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


#: type 1: a u32 named "i", so that ``bpf_local_storage`` maps have a key and a value
_INT = struct.pack("=IIII", 1, 1 << 24, 4, 32)
_INT_STRINGS = b"\0i\0"


def btf_types(*words: int) -> Result:
    """Whether the kernel takes BTF with a u32 (type 1, named "i") and then these words of types."""
    blob = btf_blob(_INT + struct.pack(f"={len(words)}I", *words), _INT_STRINGS)
    try:
        Fd(bpf(Cmd.BTF_LOAD, btf=blob, btf_size=len(blob)), "BTF").close()
    except OSError as error:
        return judge(error)
    return YES


_PAGE = mmap.PAGESIZE
_STORAGE = {"max_entries": 0, "map_flags": MapFlags.NO_PREALLOC}
#: what the smallest map of a type needs beyond a key and a value of 4 bytes and one entry
_SMALLEST: dict[MapType, dict[str, int]] = {
    MapType.STACK_TRACE: {"value_size": 8},
    MapType.LPM_TRIE: {"key_size": 8, "map_flags": MapFlags.NO_PREALLOC},
    MapType.CGROUP_STORAGE: {"key_size": 8, "max_entries": 0},
    MapType.PERCPU_CGROUP_STORAGE: {"key_size": 8, "max_entries": 0},
    MapType.REUSEPORT_SOCKARRAY: {"value_size": 8},
    MapType.QUEUE: {"key_size": 0},
    MapType.STACK: {"key_size": 0},
    MapType.SK_STORAGE: _STORAGE,
    MapType.RINGBUF: {"key_size": 0, "value_size": 0, "max_entries": _PAGE},
    MapType.INODE_STORAGE: _STORAGE,
    MapType.TASK_STORAGE: _STORAGE,
    MapType.BLOOM_FILTER: {"key_size": 0},
    MapType.USER_RINGBUF: {"key_size": 0, "value_size": 0, "max_entries": _PAGE},
    MapType.CGRP_STORAGE: _STORAGE,
    MapType.ARENA: {"key_size": 0, "value_size": 0, "map_flags": MapFlags.MMAPABLE},
}
_TYPED = frozenset(kind for kind, fields in _SMALLEST.items() if fields is _STORAGE)
_NESTED = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})


@contextmanager
def made_map(kind: MapType, **fields: int) -> Iterator[Fd]:
    """The smallest map of a type. :raises OSError: plain."""
    values: dict[str, int] = {"key_size": 4, "value_size": 4, "max_entries": 1, **_SMALLEST.get(kind, {}), **fields}
    others: list[Fd] = []
    try:
        if kind in _TYPED:
            blob = btf_blob(_INT, _INT_STRINGS)
            others.append(Fd(bpf(Cmd.BTF_LOAD, btf=blob, btf_size=len(blob)), "BTF"))
            values.update(btf_fd=others[0].fileno(), btf_key_type_id=1, btf_value_type_id=1)
        elif kind in _NESTED:
            inner = bpf_charged(Cmd.MAP_CREATE, map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
            others.append(Fd(inner, "map"))
            values.update(inner_map_fd=inner)
        with Fd(bpf_charged(Cmd.MAP_CREATE, map_type=kind, **values), f"{kind.name.lower()} map") as made:
            yield made
    finally:
        for other in others:
            other.close()


def map_type(kind: MapType, **fields: int) -> Result:
    """Whether a map of a type can be made."""
    try:
        with made_map(kind, **fields):
            return YES
    except OSError as error:
        return judge(error)


def command(cmd: Cmd, *supported: int, **fields: Any) -> Result:
    """Whether a command exists: it succeeds, giving a descriptor at most, or fails with one of ``supported``."""
    try:
        result = bpf(cmd, **fields)
    except OSError as error:
        return judge(error, supported=supported)
    if result > 0:
        Fd(result, cmd.name).close()
    return YES


#: a function that every kernel with networking has for its own tests and that nothing else calls (net/bpf/test_run.c);
#: and a security hook that is seldom asked: before 6.2 the kernel's own test function is open to fmod_ret only where
#: CONFIG_FUNCTION_ERROR_INJECTION is on, security hooks always are
QUIET, QUIET_ERROR = "bpf_fentry_test1", "security_quota_on"
#: a function of the kernels that charge maps to RLIMIT_MEMLOCK, from 5.3 to 5.10; older ones have no BTF
CHARGES = "bpf_map_charge_init"
#: the type of a tracepoint that seldom fires
NEWTASK = "btf_trace_task_newtask"
_FUNCTIONS = (QUIET, QUIET_ERROR, CHARGES, "bpf_iter_task", "bpf_lsm_file_open", "bpf_iter_num_new")


@cache
def _ids() -> dict[tuple[int, str], int]:
    try:
        return find_ids([(FUNC, name) for name in _FUNCTIONS] + [(TYPEDEF, NEWTASK)])
    except (FileNotFoundError, ValueError):  # other errors, such as EMFILE, may pass: they are not remembered
        return {}


def kernel_type(kind: int, name: str) -> int:
    """The id of one of the few types that probes use in the kernel's BTF; 0 when it has none.

    :raises OSError: plain; the BTF could not be read.
    """
    return _ids().get((kind, name), 0)


def traced(attach_type: AttachType, kind: int, name: str, *, attach: bool = True) -> Result:
    """Whether a TRACING program can be attached to a kernel type: it is, for a moment. (Loading proves nothing:
    some architectures have no trampolines and say so only when a program is attached.)"""
    try:
        number = kernel_type(kind, name)
        if not number:
            return Result(Support.NO, f"the kernel's BTF is missing or has no {name}")
        with program(ProgType.TRACING, expected_attach_type=attach_type, attach_btf_id=number) as prog:
            return command(Cmd.RAW_TRACEPOINT_OPEN, prog_fd=prog.fileno()) if attach else YES
    except OSError as error:
        return judge(error)


def link(kind: ProgType, attach_type: AttachType, *supported: int, load: dict[str, Any] | None = None,
         **fields: Any) -> Result:  # fmt: skip
    """Whether a program of a type can be attached by LINK_CREATE: it is, for a moment, or fails with ``supported``.

    :param load: further fields of the load; the others are those of LINK_CREATE.
    """
    try:
        with program(kind, **(load or {})) as prog:
            return command(Cmd.LINK_CREATE, *supported, prog_fd=prog.fileno(), attach_type=attach_type, **fields)
    except OSError as error:
        return judge(error)
