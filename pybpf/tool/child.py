"""``Child``: a command that a tool runs and traces."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from pybpf.errors import KernelError, NotFoundError

__all__ = ["Child"]


class Child:
    """A command that is started when the tracing is ready. A context manager; the child does not outlive it.

    :param command: its words; None: nothing is started.
    :ivar pid: its process; None without a command.
    :raises NotFoundError: there is no such command.
    """

    def __init__(self, command: Sequence[str] | None) -> None:
        self.command = list(command or ())
        self.pid: int | None = None
        if not self.command:
            return
        path = shutil.which(self.command[0])
        if path is None:
            raise NotFoundError(f"cannot run {self.command[0]!r}: no such command")
        self.path = path

    def __enter__(self) -> Child:
        if not self.command:
            return self
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        self._failure, failure = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            self._wait_and_run(gate, failure)
        os.close(gate)
        os.close(failure)
        return self

    def _wait_and_run(self, gate: int, failure: int) -> None:
        """The child's life, up to its becoming the command; never returns."""
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # Python ignores two of them, and tools handle the others
            os.close(self._gate)
            if os.read(gate, 1):
                os.execv(self.path, self.command)
        except OSError as error:
            os.write(failure, str(error.errno).encode())
        finally:
            os._exit(127)

    def start(self) -> None:
        """Let the command begin. :raises KernelError: it cannot be executed."""
        if self.pid is None:
            return
        os.write(self._gate, b"x")
        failure = os.read(self._failure, 16)  # the end of the file once the command runs
        if failure:
            raise KernelError(f"run {self.path}", int(failure))

    def __exit__(self, *error: object) -> None:
        if self.pid is None:
            return
        os.close(self._gate)
        os.close(self._failure)
        for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if self._reaped(self.pid, patience):
                return

    @staticmethod
    def _reaped(pid: int, patience: float | None) -> bool:
        """Wait for the child's end, ``patience`` seconds at most."""
        deadline = None if patience is None else time.monotonic() + patience
        while os.waitpid(pid, 0 if deadline is None else os.WNOHANG)[0] == 0:
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True
