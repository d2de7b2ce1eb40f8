"""``Tracer``: probes, maps and events that are loaded, attached and closed together."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pybpf.attach.link import AnyLink
from pybpf.compiler.target import Target
from pybpf.errors import BpfError, ClosedError, DeclarationError, PackError
from pybpf.lang.builtins.printing import Prints
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.output import Events
from pybpf.lang.state.stacks import MOST_STACKS, Stacks
from pybpf.lang.tracer.declare import Declared, Declares
from pybpf.lang.tracer.filters import Filters
from pybpf.lang.tracer.given import check_seconds, check_whole
from pybpf.lang.tracer.loading import Built, Live, build
from pybpf.lang.tracer.making import Makes
from pybpf.lang.tracer.naming import name_all
from pybpf.lang.tracer.pump import Pump
from pybpf.lang.tracer.session import Session
from pybpf.maps import EventReader
from pybpf.types import u8, u32

if TYPE_CHECKING:
    from pybpf.lang.tracer.family import Family

__all__ = ["Tracer"]

E = TypeVar("E")
T = TypeVar("T", bound="Tracer")


class Tracer(Declares, Makes):
    """Probes, and the maps and events that they share::

        tracer = Tracer(pid=1234)
        counts = tracer.hash(char[16], u64)

        @tracer.tracepoint("syscalls:sys_enter_openat")
        def on_open(args):
            counts[comm()] += 1

        with tracer:                       # compile, load, attach; detach and close on the way out
            tracer.run(duration=10)
            print(dict(counts.items()))

    The filters hold for every probe but intervals and iterators, at its very start; several must all hold. Where the
    kernel itself can leave out other processes (uprobes, perf events), it is told to. Of iterators only those of tasks
    (``"task"``, ``"task_file"``, ...) know two of them: ``pid`` and ``tid`` say whose they visit. Another tracer,
    without a filter, visits all tasks.

    A tracer is attached once. Everything can be read while it is attached, and after :meth:`detach` until
    :meth:`close`. It installs no signal handlers, and each tracer can be used in a thread of its own.

    :param pid: only this process, or, a tuple, these.
    :param tid: only this thread, or these.
    :param comm: only threads of this name, which is at most 15 bytes long.
    :param uid: only processes of this user.
    :param cgroup: only this control group (version 2): the path of its directory, which takes in those below it
        (Linux 5.7), or its id, which does not.
    :param ppid: only children of this process; from the initial pid namespace, and where the kernel has BTF.
    :param follow: with ``pid``: also processes that it starts, and those that they start, and so on. Uprobes and perf
        events are then not limited to one process by the kernel, but by the filter.
    :param max_stacks: how many different stacks can be kept; the kernel rounds up to a power of two.
    :param target: what to compile for; by default the running kernel. Only that can be attached to.
    :param on_print: is called with the text of each ``print()`` of a probe, its end included; by default the text goes
        to ``sys.stdout``. That happens while events are read: by :meth:`run`, :meth:`poll`, or a ``for`` or ``async
        for`` over events; the rest is written by :meth:`detach` or :meth:`close`.
    :raises PackError: a filter, or ``max_stacks``, cannot be.
    """

    def __init__(
        self,
        *,
        pid: int | tuple[int, ...] | None = None,
        tid: int | tuple[int, ...] | None = None,
        comm: str | None = None,
        uid: int | None = None,
        cgroup: str | int | None = None,
        ppid: int | None = None,
        follow: bool = False,
        max_stacks: int = MOST_STACKS,
        target: Target | None = None,
        on_print: Callable[[str], object] | None = None,
    ) -> None:
        check_whole("max_stacks", max_stacks, 1, 1 << 24)
        if not isinstance(target, (Target, type(None))):
            raise DeclarationError(f"target={target!r:.60} is no Target: Target.described(\"5.10\", \"aarch64\"), say")
        if not (on_print is None or callable(on_print)):
            raise BpfError(f"on_print={on_print!r:.60} is no function")
        self.counts = Counts()
        stacks = Stacks(max_stacks)
        self.parts: list[Any] = []
        self.family: Family | None = None
        if follow:
            if not isinstance(pid, int):
                raise PackError("only the children of one process can be followed: give pid=, too")
            from pybpf.lang.tracer.family import MOST_FOLLOWED, Family  # only here: few follow children

            self.family = Family(pid, self.hash(u32, u8, MOST_FOLLOWED, name="family"))
        self._only: list[Callable[[], object]] = []
        filters = Filters(pid, tid, comm, uid, cgroup, ppid, self.family, self._only)
        self.session = Session(self.counts, filters, stacks, Prints(self.counts, stacks))
        self.target = target
        self.on_print = on_print
        self.declared: list[Declared] = []
        self._live: Live | None = None
        self._closed = False
        self._missed: int | None = None
        self._pumps = 0
        self._printing = threading.RLock()

    def only(self, wanted: Callable[[], object]) -> None:
        """Another filter: a function for probes, without parameters, which is true where something is wanted::

            groups = tracer.pinned_hash("/sys/fs/bpf/groups", u64)
            tracer.only(lambda: cgroup_id() in groups)

        It holds for all probes of the tracer for which the filters hold.
        """
        self._only.append(wanted)

    # --- life

    def compile(self, target: Target | None = None, *, stages: bool = False) -> list[Built]:
        """Compile all probes: needs neither a kernel nor privileges.

        :param target: what for; by default what the tracer was made for.
        :param stages: keep the text of each stage of the compiler.
        :raises CompileError: a probe cannot be compiled; says where, why, and what to write instead.
        """
        try:
            return self._compiled(target or self.target or Target.host(), stages)
        except BpfError as error:
            raise _shortened(error) from error.__cause__

    def _compiled(self, chosen: Target, stages: bool) -> list[Built]:
        name_all(self.parts, [each.function for each in self.declared])
        begins, ends = self._following(chosen)
        declared = [*begins, *self.declared, *ends]  # who ends is one of the family for all probes before
        return [built for each in declared for built in build(each, chosen, stages=stages)]

    def _following(self, target: Target) -> tuple[list[Declared], list[Declared]]:
        """The probes that see the children of the traced process begin, and those that see them end."""
        if self.family is None:
            return [], []
        own, self.declared = self.declared, []
        try:
            self.family.declare(self, target)
            return self.declared[:1], self.declared[1:]
        finally:
            self.declared = own

    def attach(self: T, progress: Callable[[int, int], object] | None = None) -> T:
        """Compile, create the maps, load all programs, then attach them in the order of their decorators.

        Where something fails nothing stays in the kernel.

        :param progress: is called before each probe is attached, with its number, from 1 on, and how many there are.
        :raises ClosedError: the tracer was attached before.
        :raises CompileError: a probe cannot be compiled.
        :raises VerifierError: the kernel refuses a program; says which line of Python it comes from.
        :raises BpfError: the target is of another architecture.
        :raises PermissionDenied, UnsupportedError, NotFoundError, KernelError: of loading and attaching.
        """
        if self._closed or self._live is not None:
            state = "is closed" if self._closed else "is attached already"
            raise ClosedError(f"this tracer {state}; make another one to trace again")
        target = self.target or Target.host()
        if target.arch.name != os.uname().machine:  # registers and numbers of calls would be others
            raise BpfError(f"cannot attach: this tracer is for {target.arch.name}, and this machine is "
                           f"{os.uname().machine}; compile() is for other machines")  # fmt: skip
        live = Live(self.session)
        try:
            live.start(self._compiled(target, False), self.parts, target, progress)
        except BpfError as error:
            raise _shortened(error) from error.__cause__
        self._live = live
        if self.family is not None:
            self.family.look_up()
        return self

    def detach(self) -> None:
        """Stop tracing; maps, and the events that are there, stay readable until :meth:`close`.

        What probes printed and was not written yet is written, unless a call of :meth:`run`, say, is at work.
        """
        if self._live is not None:
            if self._missed is None:
                self._missed = self._missed_of_links(self._live)
            self._detach(self._live)

    def _detach(self, live: Live) -> None:
        live.detach()
        prints = self.session.prints
        with self._printing:
            if prints.used and not self._pumps:
                with suppress(ClosedError):
                    prints.events.reader.drain(self._print, limit=1 << 62)

    def close(self) -> None:
        """Detach, and give all maps back; a second call does nothing. Another thread that reads events ends.

        Events that are there and not read are counted by :attr:`Events.unread`, and so by ``lost``.
        """
        self._closed = True
        live, self._live = self._live, None
        if live is not None:
            try:
                self._detach(live)
            finally:
                live.close()

    def __enter__(self: T) -> T:
        try:
            return self.attach()
        except BpfError as error:
            raise _shortened(error) from error.__cause__

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def _loaded(self, doing: str) -> Live:
        if self._live is None:
            why = "it is closed" if self._closed else "it is not attached: use 'with tracer:'"
            raise ClosedError(f"cannot {doing} this tracer: {why}")
        return self._live

    def _add(self, declared: Declared) -> None:
        if self._live is not None or self._closed:
            raise ClosedError(
                f"cannot add the probe {declared.function.__name__}(): the tracer was attached before; "
                "decorate functions first"
            )
        self.declared.append(declared)

    def links(self, function: Callable[..., Any]) -> list[AnyLink]:
        """The links of a probe function, one for each of its decorators: what they missed, iterators to read.

        :raises ClosedError: the tracer is not attached.
        :raises BpfError: it is no probe of this tracer.
        """
        found = self._loaded("ask for links of").links.get(function)
        if not found:
            raise BpfError(f"{getattr(function, '__name__', function)!s} is no probe of this tracer")
        return list(found)

    @property
    def lost(self) -> int:
        """How many events of all streams, lines of ``print()`` among them, were sent and never delivered.

        For want of room; and when the tracer is closed, those that nobody had read. So what probes sent is what was
        delivered and this, exactly.
        """
        streams = [each for each in self.parts if isinstance(each, Events)]
        return sum(each.lost for each in (*streams, self.session.prints.events))

    @property
    def dropped(self) -> int:
        """How many times probes could not store a value, because one of the tracer's maps was full."""
        return sum(each.dropped for each in self.parts if hasattr(each, "dropped"))

    @property
    def missed(self) -> int:
        """How many hits of all probes ran no program, see :attr:`pybpf.attach.Link.missed`, as far as it is known.

        Among them are those whose program ended at once, because too many runs that other tasks had preempted held the
        memory for large values.

        After :meth:`detach` it is what it was there.

        :raises ClosedError: the tracer is not attached.
        """
        live = self._loaded("ask what was missed by")
        of_links = self._missed_of_links(live) if self._missed is None else self._missed
        return self.counts.skipped.value + of_links

    @staticmethod
    def _missed_of_links(live: Live) -> int:
        return sum(link.missed or 0 for links in live.links.values() for link in links)

    @property
    def cut(self) -> int:
        """How many ``while`` loops ended because they had taken 8,388,608 turns, not because of their condition."""
        return self.counts.cut.value

    # --- reading

    def run(
        self,
        handlers: Mapping[Events[Any], Callable[[Any], object]] | None = None,
        *,
        duration: float | None = None,
        every: float | None = None,
        callback: Callable[[], object] | None = None,
    ) -> None:
        """Deliver events and print what probes print, until Ctrl-C, ``duration``, or :meth:`close` by another thread.

        ``KeyboardInterrupt`` ends it without an error, so that what follows can report. Exceptions of handlers and of
        ``callback`` leave it; with ``with tracer:`` everything is detached then.

        :param handlers: stream of events -> what is called with each of them. Streams that are left out fill up.
        :param duration: seconds. What is there at their end, or at Ctrl-C, is still delivered.
        :param every: seconds after which ``callback`` is called, again and again; at the end of ``duration`` once more.
        :raises ClosedError: the tracer is not attached.
        """
        self._loaded("run")
        for name, seconds in (("duration", duration), ("every", every)):
            if seconds is not None:
                check_seconds(name, seconds)
        if every is not None and not every > 0:
            raise BpfError(f"cannot call back every {every} seconds: the number must be above 0")
        if callback is not None and not callable(callback):
            raise BpfError(f"callback={callback!r:.60} is no function")
        begin = time.monotonic()
        end = None if duration is None else begin + duration
        turn = 1
        with self.pumping(handlers or {}) as pump:
            try:
                while not self._closed:
                    tick = None if every is None else begin + turn * every
                    until = min((each for each in (end, tick) if each is not None), default=None)
                    pump.run(until)
                    if callback is not None and not self._closed:
                        callback()
                    if end is not None and time.monotonic() >= end:
                        return
                    turn += 1
            except KeyboardInterrupt:
                pump.run(until=0)

    def poll(self, handlers: Mapping[Events[Any], Callable[[Any], object]] | None = None) -> int:
        """Deliver what is there now, without waiting; returns how many events there were. For other event loops."""
        self._loaded("poll")
        with self.pumping(handlers or {}) as pump:
            return pump.turn()

    @contextmanager
    def pumping(self, handlers: Mapping[Events[Any], Callable[[Any], object]]) -> Iterator[Pump]:
        """What delivers events, and what probes print, turn by turn: for loops that also wait for other things.

        As long as it is used, nothing else reads what probes print.

        :raises ClosedError: (from entering it) the tracer is not attached.
        """
        self._loaded("read events of")
        with self._pump(handlers) as pump, self._at_work():
            yield pump

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """While something delivers what probes print, :meth:`detach` leaves it to that."""
        self._pumps += 1
        try:
            yield
        finally:
            self._pumps -= 1

    @contextmanager
    def _at_work_alone(self) -> Iterator[None]:
        """The same for a short time, for which :meth:`detach` in another thread waits."""
        with self._printing, self._at_work():
            yield

    def _pump(self, handlers: Mapping[Events[Any], Callable[[Any], object]]) -> Pump:
        if not isinstance(handlers, Mapping):
            raise BpfError(f"{handlers!r:.60} are no handlers: write {{tracer.events(...): function}}")
        for events in handlers:
            if not isinstance(events, Events):
                raise BpfError(f"{events!r:.60} is no stream of events: handlers are {{tracer.events(...): function}}")
        callbacks = {events.reader: callback for events, callback in handlers.items()}
        if self.session.prints.used:
            callbacks[self.session.prints.events.reader] = self._print
        return Pump(callbacks, lambda: self._closed)

    def _print(self, text: str) -> None:
        if self.on_print is not None:
            self.on_print(text)
        else:
            sys.stdout.write(text)

    def _deliver_beside(self, reader: EventReader[E]) -> Iterator[E]:
        if not self.session.prints.used:
            yield from reader
            return
        self._loaded("read events of")
        with self._pump({}) as pump:
            yield from pump.beside(reader, self._at_work_alone)

    async def _deliver_beside_async(self, reader: EventReader[E]) -> AsyncIterator[E]:
        if not self.session.prints.used:
            async for event in reader:
                yield event
            return
        self._loaded("read events of")
        with self._pump({}) as pump:
            async for event in pump.beside_async(reader, self._at_work_alone):
                yield event


def _shortened(error: BpfError) -> BpfError:
    """The error without the frames in pybpf that it passed: where it is, it says itself, in lines of the user's.

    ``python -X dev`` shows them all.
    """
    if not sys.flags.dev_mode:
        error.__traceback__ = None
        error.__suppress_context__ = True
    return error
