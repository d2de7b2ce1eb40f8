"""``Ending``: how long a tool runs: until its duration is over, a signal, or the end of a process or of its reader."""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from pybpf.errors import NotFoundError

__all__ = ["Ending"]

#: seconds until something is looked at for the first time; then twice as many each time
_FIRST_PAUSE = 0.05


class Ending:
    """A context manager. Inside, SIGINT and SIGTERM end the run instead of the process, so that the final report is
    always made; a second one ends the process at once.

    :ivar over: whether the run has ended.
    """

    def __init__(self) -> None:
        self.over = False
        self._end = float("inf")
        self._handlers: dict[int, Any] = {}
        self._wake: tuple[int, int] | None = None
        self._processes: set[int] = set()
        self._poll = select.poll()

    def __enter__(self) -> Ending:
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._wake[0], select.POLLIN)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._stop)
        reader = _reader()
        if reader is not None:
            self._poll.register(reader, 0)  # a pipe that nobody reads any more announces itself
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for fd in (*(self._wake or ()), *self._processes):
            os.close(fd)
        self._wake = None
        self._processes.clear()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, self._handlers[number])
        self.stop()

    def stop(self) -> None:
        """End the run."""
        self.over = True
        if self._wake:
            os.write(self._wake[1], b"x")

    def start(self, duration: float | None = None, pid: int | tuple[int, ...] | None = None) -> None:
        """The time begins to count.

        :param duration: seconds, or None for no limit.
        :param pid: a process whose end ends the run, or several of which the last does, or None.
        :raises NotFoundError: one of them has ended.
        """
        if duration:
            self._end = time.monotonic() + duration
        for process in pid if isinstance(pid, tuple) else (pid,) if pid else ():
            fd = _pidfd(process)
            if fd is not None:
                self._processes.add(fd)
                self._poll.register(fd, select.POLLIN)

    def watch(self, fd: int) -> None:
        """:meth:`wait` returns when this descriptor is readable, too."""
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """No more."""
        self._poll.unregister(fd)

    def wait(self, until: float = float("inf")) -> bool:
        """Wait until there is something to read, until a time (of ``time.monotonic``), or until the run has ended.

        :return: whether it has not ended.
        """
        assert self._wake, "use it in a with statement"
        if not self.over:
            wait = min(until, self._end) - time.monotonic()
            # poll(2) counts whole milliseconds: one more, or the last one would be spent in a busy loop
            found = self._poll.poll(None if wait == float("inf") else max(0, wait) * 1000 + 1)
            ended = any(fd == self._wake[0] or event & select.POLLERR for fd, event in found)
            ended = ended or self._last_of(fd for fd, _ in found)
            self.over = self.over or ended or time.monotonic() >= self._end
        return not self.over

    def _last_of(self, readable: Iterable[int]) -> bool:
        """Whether the last of the processes is among those that have ended now."""
        ended = self._processes & {*readable}
        for fd in ended:
            self._poll.unregister(fd)
            self._processes.remove(fd)
            os.close(fd)
        return bool(ended) and not self._processes

    def intervals(
        self, every: float | None, count: int | None = None, meanwhile: Callable[[], object] | None = None
    ) -> Iterator[float]:
        """Wait; yields the time (``time.time()``) at the end of each interval, the last one at the end of the run.

        :param every: seconds between reports, or None for one report at the end. Times do not drift.
        :param count: of intervals, or None for no limit.
        :param meanwhile: is called every second, and some more times in the first one.
        """
        now = time.monotonic()
        due = now + every if every else float("inf")
        pause = _FIRST_PAUSE if meanwhile else float("inf")
        last = False
        while not last:
            while self.wait(min(due, now + pause)) and time.monotonic() < due:
                if meanwhile is not None:
                    meanwhile()
                    pause = min(2 * pause, 1.0)
                now = time.monotonic()
            now = time.monotonic()
            if every and due <= now:
                due = max(due + every * (1 + (now - due) // every), now)
            if count is not None:
                count -= 1
            last = self.over or count == 0
            yield time.time()


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where that cannot be had (Linux < 5.3)."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise NotFoundError(f"process {pid} has ended") from None
        return None


def _reader() -> int | None:
    """The descriptor of the standard output where that is a pipe or a socket."""
    try:
        fd = sys.stdout.fileno()
        mode = os.fstat(fd).st_mode
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return None
    return fd if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None
