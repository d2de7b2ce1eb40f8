"""Files that tools write beside what they print."""

from __future__ import annotations

import errno
import os

from pybpf.errors import BpfError
from pybpf.report import printable

__all__ = ["cannot_write", "write_file"]


def cannot_write(path: str, error: OSError) -> BpfError:
    """The error of a file that cannot be written."""
    return BpfError(f"cannot write {printable(path)}: {os.strerror(error.errno or errno.EIO)}")


def write_file(path: str, data: bytes) -> None:
    """Write a file. :raises BpfError: it cannot be written."""
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise cannot_write(path, error) from None
