"""Owned file descriptors: closed once, refused after that."""

from __future__ import annotations

import os
import warnings
from types import TracebackType

from pybpf.errors import ClosedError

__all__ = ["Fd"]


class Fd:
    """A file descriptor that this object alone owns.

    It is closed by :meth:`close`, at the end of a ``with`` block, or (with a ``ResourceWarning``) when it is
    garbage collected. All descriptors that pybpf makes are close-on-exec.
    """

    __slots__ = ("_fd", "what")

    def __init__(self, fd: int, what: str = "file descriptor") -> None:
        self._fd = fd
        self.what = what

    def fileno(self) -> int:
        """The descriptor's number. :raises ClosedError: after :meth:`close` or :meth:`release`."""
        if self._fd < 0:
            raise ClosedError(f"{self.what} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """True once the descriptor is closed or released."""
        return self._fd < 0

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def release(self) -> int:
        """Give up ownership: returns the number, which the caller must now close."""
        fd = self.fileno()
        self._fd = -1
        return fd

    def dup(self) -> Fd:
        """A second, independently owned descriptor (close-on-exec) of the same object."""
        return Fd(os.dup(self.fileno()), self.what)

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.what}, {'closed' if self.closed else f'fd {self._fd}'}>"

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            text = f"unclosed {self!r}"
            self.close()  # first: a warning can be made an error
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
