"""Where downloads and images are kept between runs, and the error that the harness reports."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["VmError", "directory", "locked"]


class VmError(Exception):
    """A virtual machine could not be prepared or started; the message is one line, with what to do."""


def directory() -> Path:
    """``$PYBPF_VM_CACHE``, or ``pybpf/vm`` in the user's cache directory. Safe to delete at any time."""
    chosen = os.environ.get("PYBPF_VM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(chosen or os.path.join(base, "pybpf", "vm")).absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked() -> Iterator[Path]:
    """The cache directory, for one thread of one process at a time."""
    path = directory()
    with open(path / "lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        yield path
