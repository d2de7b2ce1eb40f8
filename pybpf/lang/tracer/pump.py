"""Waiting for several event readers at once, and handing what they have to their callbacks."""

from __future__ import annotations

import select
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pybpf.errors import ClosedError
from pybpf.maps import EventReader

if TYPE_CHECKING:
    import asyncio

__all__ = ["Pump"]

#: seconds after which readers are asked in any case, see :meth:`EventReader.fileno`
_TICK = 1.0
_ALL = 1 << 62

Callback = Callable[[Any], object]
AtWork = Callable[[], AbstractContextManager[None]]


class Pump:
    """Readers, each with what is called for its events; one descriptor announces that any of them has some.

    One thread at a time uses it. The readers stay the caller's.

    :param callbacks: reader -> what is called with each of its events. An exception of it leaves :meth:`turn`; the
        next turn goes on with the event behind.
    :param ended: whether to stop, asked every second at least.
    """

    def __init__(self, callbacks: Mapping[EventReader[Any], Callback], ended: Callable[[], bool]) -> None:
        self._callbacks = dict(callbacks)
        self._ended = ended
        self._epoll = select.epoll()
        try:
            for reader in self._callbacks:
                self._epoll.register(reader.fileno(), select.EPOLLIN)
        except BaseException:
            self._epoll.close()
            raise

    def fileno(self) -> int:
        """A descriptor that is readable when :meth:`turn` should be called; call it every second or so too."""
        return self._epoll.fileno()

    def turn(self) -> int:
        """Deliver what is there, a part of it if it is much; returns how many events there were.

        :raises ClosedError: a reader was closed.
        """
        return sum(reader.drain(callback) for reader, callback in self._callbacks.items())

    def finish(self) -> int:
        """Deliver all that is there now, however much; what comes meanwhile does not keep it going.

        :raises ClosedError: a reader was closed.
        """
        return sum(reader.drain(callback, limit=_ALL) for reader, callback in self._callbacks.items())

    def wait(self, until: float | None = None) -> None:
        """Return when there may be events, or after a tick, or at ``until`` (of ``time.monotonic``)."""
        seconds = _TICK if until is None else min(_TICK, until - time.monotonic())
        if seconds > 0:
            self._epoll.poll(seconds)

    def run(self, until: float | None = None) -> None:
        """Deliver events until then, with all that is there at that time, or until :attr:`ended`."""
        while not self._ended():
            try:
                if until is not None and time.monotonic() >= until:
                    self.finish()
                    return
                count = self.turn()
            except ClosedError:
                if not self._ended():
                    raise
                return
            if not count:
                self.wait(until)

    def beside(self, reader: EventReader[Any], at_work: AtWork) -> Iterator[Any]:
        """The events of another reader as they come, while those of the own ones are delivered too.

        Ends when ``reader`` is closed. What it gives may be its last event for long, or for ever.

        :param at_work: what to be inside of while own events are delivered.
        """
        self._epoll.register(reader.fileno(), select.EPOLLIN)
        while not reader.closed:
            yield from reader.events(timeout=0)
            with at_work():
                self.run(until=0)
            if not reader.closed:
                self.wait()

    async def beside_async(self, reader: EventReader[Any], at_work: AtWork) -> AsyncIterator[Any]:
        """As :meth:`beside`, for ``async for``."""
        import asyncio  # only here: it is slow to load

        loop = asyncio.get_running_loop()
        self._epoll.register(reader.fileno(), select.EPOLLIN)
        while not reader.closed:
            for event in reader.events(timeout=0):
                yield event
            with at_work():
                self.run(until=0)
            await asyncio.sleep(0)  # a flood leaves other tasks their turn
            if reader.closed or self._epoll.poll(0):
                continue
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._epoll.fileno(), _announce, ready)
            try:
                await asyncio.wait({ready}, timeout=_TICK)
            finally:
                loop.remove_reader(self._epoll.fileno())

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        self._epoll.close()

    def __enter__(self) -> Pump:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _announce(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
