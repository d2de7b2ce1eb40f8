"""From a bare errno to what went wrong and what to do: every failed system call passes through here."""

from __future__ import annotations

import errno as e
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pybpf.errors import KernelError, PermissionDenied, UnsupportedError

__all__ = ["explain", "explaining"]

_CLASSES: Mapping[int, type[KernelError]] = {
    e.EPERM: PermissionDenied,
    e.EACCES: PermissionDenied,
    e.ENOSYS: UnsupportedError,
    e.EOPNOTSUPP: UnsupportedError,
    524: UnsupportedError,  # ENOTSUPP, include/linux/errno.h; not in user space's tables
}


def explain(action: str, error: OSError, what: str, *needs: str) -> KernelError:
    """The exception to raise for ``error``; it looks for the cause, and tells none that it did not find.

    :param action: what was being done, as in "cannot ...": ``"create hash map 'counts'"``.
    :param error: what the system call raised; one of ``bpf`` or ``perf_event_open`` carries its arguments.
    :param what: the kind of operation, which decides what can have gone wrong: ``map_create``, ``map_elem``,
        ``prog_load``, ``test_run``, ``btf_load``, ``attach``, ``perf_event``, ``perf_mmap``, ``link_create``,
        ``obj_id``, ``stats``, ``tracefs``, ``tracefs_write``, or any other word for what has no causes of its own.
    :param needs: names of features that the operation needs; see :mod:`pybpf.sys.features`.
    """
    # here, because what is imported on the way to a start takes time, and most calls succeed
    from pybpf.sys.causes import Failure
    from pybpf.sys.privilege import privileges
    from pybpf.sys.reasons import find_cause

    number = error.errno or 0
    cause = find_cause(Failure(what, number, getattr(error, "request", None), needs, privileges()))
    kind = cause.kind or _CLASSES.get(number, KernelError)
    return kind(action, number, cause.text, cause.advice)


@contextmanager
def explaining(action: str, what: str, *needs: str) -> Iterator[None]:
    """Raise what :func:`explain` says for an ``OSError`` of the block; pybpf's own errors pass unchanged."""
    try:
        yield
    except KernelError:
        raise
    except OSError as error:
        raise explain(action, error, what, *needs) from None
