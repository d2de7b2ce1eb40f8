"""What ends a script from outside: signals, and the end of what is traced."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Ending", "heed_interrupts"]

#: seconds between looks at a script, and where something else than a signal may end it
_TICK, _SHORT_TICK = 1.0, 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed_interrupts() -> None:
    """Ctrl-C ends a script also where a shell has had it ignored: what ``&`` starts in a script of a shell."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Ending:
    """A context manager. Inside, SIGTERM and SIGHUP do what Ctrl-C does: they raise ``KeyboardInterrupt``, until
    :meth:`asked_only` says that the script runs. From then on the first of them only asks for the end, so that it
    falls into nothing that has been begun; the next one raises again.

    :param ended: whether what is traced has ended; None: nothing but signals ends the script from outside.
    """

    def __init__(self, ended: Callable[[], bool] | None = None) -> None:
        self._ended = ended
        self._raises = True
        self._asked = False
        self._handlers: dict[int, Any] = {}
        self._poll = select.poll()

    def __enter__(self) -> Ending:
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._wake[0], select.POLLIN)
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                self._handlers[number] = signal.signal(number, self._come)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for end in self._wake:
            os.close(end)

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self._raises:
            raise KeyboardInterrupt
        self._raises = self._asked = True
        os.write(self._wake[1], b"\0")

    def asked_only(self) -> None:
        """The script runs: the next signal asks for its end, and interrupts nothing."""
        self._raises = False

    @property
    def over(self) -> bool:
        """Whether the script is to end."""
        return self._asked or (self._ended is not None and self._ended())

    def wait(self, fd: int) -> None:
        """Return when a descriptor is readable, when the script is to end, or after a while."""
        tick = _TICK if self._ended is None else _SHORT_TICK
        self._poll.register(fd, select.POLLIN)
        self._poll.poll(tick * 1000)
