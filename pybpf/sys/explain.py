"""From a bare errno to what went wrong and what to do: every failed system call passes through here."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pybpf.errors import KernelError, PermissionDenied, UnsupportedError

__all__ = ["explain", "explaining"]

_CLASSES: dict[int, type[KernelError]] = {
    errno.EPERM: PermissionDenied,
    errno.EACCES: PermissionDenied,
    errno.ENOSYS: UnsupportedError,
    errno.EOPNOTSUPP: UnsupportedError,
    524: UnsupportedError,
}


def explain(action: str, error: OSError, what: str) -> KernelError:
    """The exception to raise for ``error``.

    :param action: what was being done, as in "cannot ...": ``"create hash map 'counts'"``.
    :param error: what the system call raised.
    :param what: the kind of operation, which decides what can have gone wrong: ``map_create``, ``map_elem``,
        ``prog_load``, ``test_run``, ``btf_load``, ``attach``, ``perf_event``, ``link_create``, ``obj_id``, ``pin``, ...
    """
    number = error.errno or 0
    return _CLASSES.get(number, KernelError)(action, number)


@contextmanager
def explaining(action: str, what: str) -> Iterator[None]:
    """Raise what :func:`explain` says for an ``OSError`` of the block; pybpf's own errors pass unchanged."""
    try:
        yield
    except KernelError:
        raise
    except OSError as error:
        raise explain(action, error, what) from None
