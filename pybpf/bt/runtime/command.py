"""A command that is started to be traced: it waits until everything is attached, and its end ends the script."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from pybpf.errors import BpfError, NotFoundError

__all__ = ["Command"]

_NOT_FOUND = 127


class Command:
    """A process that has been forked, and runs the command when :meth:`go` says so.

    :param text: the command, in words as a shell reads them.
    :ivar pid: the process.
    :raises NotFoundError: there is no such command.
    :raises BpfError: the text cannot be read, or is empty.
    """

    def __init__(self, text: str) -> None:
        import shlex
        from shutil import which

        try:
            words = shlex.split(text)
        except ValueError as error:
            raise BpfError(f"cannot read the command {text!r}: {error}") from None
        if not words:
            raise BpfError("the command is empty")
        if which(words[0]) is None:
            raise NotFoundError(f"there is no command {words[0]!r}")
        gate, self._gate = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _wait_and_run(gate, self._gate, words)
        os.close(gate)
        self.status: int | None = None

    def go(self) -> None:
        """Let the command begin."""
        if self._gate >= 0:
            os.write(self._gate, b"\0")
            os.close(self._gate)
            self._gate = -1

    def ended(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def close(self) -> None:
        """End it, if it still runs; a second call does nothing."""
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1
        if not self.ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            self.status = os.waitpid(self.pid, 0)[1]


def _wait_and_run(gate: int, other: int, words: list[str]) -> None:
    """What the new process does: never returns."""
    try:
        os.close(other)
        if os.read(gate, 1):
            os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_NOT_FOUND)
