"""Which causes are looked for, by the kind of operation and errno: a table."""

from __future__ import annotations

import errno as e
from collections.abc import Iterable, Mapping, Sequence

from pybpf.sys import causes
from pybpf.sys.bpf import Attr, Cmd
from pybpf.sys.causes import Cause, Check, Failure
from pybpf.sys.privilege import Privileges

__all__ = ["find_cause", "find_refusal"]

ENOTSUPP = 524  # include/linux/errno.h; not in user space's tables


def _means(text: str, advice: str = "") -> Check:
    """The check of an errno that, from this operation, means one thing only."""
    cause = Cause(text, advice)
    return lambda failure: cause


_REFUSED: tuple[Check, ...] = (causes.capabilities, causes.seccomp, causes.features)
_LOCKABLE: tuple[Check, ...] = (*_REFUSED, causes.lockdown)
_CHARGED: tuple[Check, ...] = (*_REFUSED, causes.charged, causes.memlock, causes.other_refusal)
_ELSEWISE: tuple[Check, ...] = (*_REFUSED, causes.other_refusal)
_LOCKABLE_ELSEWISE: tuple[Check, ...] = (*_LOCKABLE, causes.other_refusal)
_UNSUPPORTED: tuple[Check, ...] = (causes.features, causes.unknown_field)

#: (kind of operation, errno) -> checks, tried in order; the first cause found is told
_CHECKS: Mapping[tuple[str, int], tuple[Check, ...]] = {
    ("map_create", e.EPERM): _CHARGED,
    ("map_create", e.EINVAL): (
        causes.map_sizes, causes.no_numa_node, causes.object_name, *_UNSUPPORTED, causes.map_flags,
    ),
    ("map_create", e.E2BIG): (causes.map_sizes, causes.unknown_field, causes.too_large),
    ("map_create", e.ENOMEM): (causes.map_memory,),
    ("map_create", ENOTSUPP): (causes.features, _means("this kind of map does not take the flags or types given")),
    ("map_elem", e.EPERM): (causes.seccomp, causes.read_only_map),
    ("map_elem", e.ENOENT): (_means("there is no such key"),),
    ("map_elem", e.EEXIST): (_means("there is such a key already"),),
    ("map_elem", e.E2BIG): (_means("the map is full, or the index is beyond its end"),),
    ("map_elem", ENOTSUPP): (_means("this kind of map does not have the operation, or not in this kernel"),),
    ("prog_load", e.EPERM): (*_LOCKABLE, causes.charged, causes.memlock, causes.other_refusal),
    ("prog_load", e.EACCES): _LOCKABLE,
    ("prog_load", e.EINVAL): (causes.object_name, *_UNSUPPORTED),
    ("prog_load", e.E2BIG): (causes.no_instructions, causes.unknown_field),
    ("prog_load", e.EAGAIN): (_means("a signal interrupted the verifier", "try again"),),
    ("prog_load", ENOTSUPP): (causes.features, causes.not_compiled),
    ("btf_load", e.EPERM): _ELSEWISE,
    ("test_run", e.EPERM): _ELSEWISE,
    ("test_run", e.ENOSPC): (_means("the room for the output is too small"),),
    ("test_run", ENOTSUPP): (_means("the kernel cannot run programs of this type on given data"),),
    ("attach", e.EPERM): _LOCKABLE_ELSEWISE,
    ("attach", e.EACCES): (*_LOCKABLE, _means("the program reads more than the tracepoint's record has")),
    ("attach", e.EEXIST): (_means("the perf event has a program already"),),
    ("attach", e.E2BIG): (_means("the event has as many programs as the kernel allows (64)"), causes.unknown_field),
    ("attach", e.EBUSY): (_means("something else that cannot be shared is attached there"),),
    ("attach", e.ENOENT): (_means("there is no such tracepoint"),),
    ("link_create", e.EPERM): _LOCKABLE_ELSEWISE,
    ("link_create", e.EACCES): _LOCKABLE,
    ("link_create", e.ESRCH): (_means("one of the functions or processes is unknown, or cannot be probed"),),
    ("link_create", e.EBUSY): (_means("something else that cannot be shared is attached there"),),
    ("perf_event", e.EPERM): (*_LOCKABLE, causes.paranoid, causes.other_refusal),
    ("perf_event", e.EACCES): (*_LOCKABLE, causes.paranoid, causes.other_refusal),
    ("perf_event", e.ENOENT): (causes.no_counter,),
    ("perf_event", e.EINVAL): (causes.no_cpu, causes.no_tracepoint, causes.features),
    ("perf_event", e.ENODEV): (causes.no_cpu,),
    ("perf_event", e.ESRCH): (causes.no_process,),
    ("perf_event", e.EBUSY): (_means("all counters or breakpoints of the processor are in use"),),
    ("perf_event", e.EADDRNOTAVAIL): (_means("several functions have that name", "give its address instead"),),
    ("perf_event", e.EILSEQ): (_means("no instruction starts there"),),
    ("perf_event", ENOTSUPP): (causes.no_place,),
    ("perf_mmap", e.EPERM): (causes.perf_buffer_limit,),
    ("obj_id", e.EPERM): _ELSEWISE,
    ("stats", e.EPERM): _ELSEWISE,
    ("tracefs", e.EPERM): (causes.capabilities, causes.lockdown, causes.other_refusal),
    ("tracefs", e.EACCES): (causes.capabilities,),
    ("tracefs_write", e.EPERM): (causes.capabilities, causes.lockdown, causes.other_refusal),
    ("tracefs_write", e.EACCES): (causes.capabilities,),
    ("tracefs_write", e.EBUSY): (_means("the event is in use"),),
    ("tracefs_write", e.EEXIST): (_means("there is an event of that name already"),),
    ("tracefs_write", e.EROFS): (_means("tracefs is mounted read-only here"),),
}  # fmt: skip

#: errno -> checks, for operations without a row of their own
_ALWAYS: Mapping[int, tuple[Check, ...]] = {
    e.EPERM: (causes.seccomp,),
    e.EINVAL: _UNSUPPORTED,
    e.E2BIG: (causes.unknown_field,),
    e.ENOSYS: (causes.missing_call,),
    e.EMFILE: (causes.descriptors,),
    e.ENFILE: (_means("the whole system has as many files open as it may", "raise the sysctl fs.file-max"),),
    e.ENOMEM: (_means("the kernel has no memory for it", "look at the memory limit of the cgroup"),),
    e.EOPNOTSUPP: _UNSUPPORTED,
    ENOTSUPP: _UNSUPPORTED,
}


#: checks that probe features: not to be asked of a probe's own failure
_PROBING = frozenset({causes.features, causes.memlock, causes.not_compiled, causes.no_instructions})
#: command of bpf(2) -> kind of operation
_OPERATIONS: Mapping[int, str] = {
    Cmd.MAP_CREATE: "map_create", Cmd.PROG_LOAD: "prog_load", Cmd.BTF_LOAD: "btf_load",
    Cmd.PROG_TEST_RUN: "test_run", Cmd.RAW_TRACEPOINT_OPEN: "attach", Cmd.LINK_CREATE: "link_create",
    Cmd.ENABLE_STATS: "stats", Cmd.PROG_GET_NEXT_ID: "obj_id", Cmd.MAP_GET_NEXT_ID: "obj_id",
    Cmd.LINK_GET_NEXT_ID: "obj_id", Cmd.BTF_GET_NEXT_ID: "obj_id",
}  # fmt: skip


def find_cause(failure: Failure) -> Cause:
    """The first cause that is found; an empty one where none is."""
    return _first(failure, _checks(failure))


def find_refusal(error: OSError, state: Privileges) -> Cause:
    """As :func:`find_cause` of a call that a feature probe made: why this process may not make it."""
    request = getattr(error, "request", None)
    what = _OPERATIONS.get(request.cmd, "") if isinstance(request, Attr) else "perf_event" if request else ""
    failure = Failure(what, error.errno or 0, request, (), state)
    return _first(failure, [check for check in _checks(failure) if check not in _PROBING])


def _checks(failure: Failure) -> Sequence[Check]:
    return _CHECKS.get((failure.what, failure.errno), ()) or _ALWAYS.get(failure.errno, ())


def _first(failure: Failure, checks: Iterable[Check]) -> Cause:
    for check in checks:
        try:
            cause = check(failure)
        except Exception:  # looking for a cause must not hide the error itself
            continue
        if cause is not None:
            return cause
    return Cause("")
