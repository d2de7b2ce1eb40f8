"""``Running``: a script that has been loaded and attached; its events, its maps, its end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from pybpf.bt.runtime.acting import ACTIONS, printed
from pybpf.bt.runtime.events import Event, Exited, Lost, MapShown, PrintedRun, Shown, Warned
from pybpf.bt.runtime.live import Live
from pybpf.bt.runtime.maps import RunningMap
from pybpf.bt.runtime.naming import Naming
from pybpf.errors import ClosedError

if TYPE_CHECKING:
    from pybpf.bt.runtime.trials import Trial
    from pybpf.bt.state.actions import AskedRun
    from pybpf.bt.state.script import CompiledScript, Site
    from pybpf.bt.syntax.source import Span

__all__ = ["Running"]

#: seconds after which the reader looks in any case
_TICK = 1.0


class Running:
    """A script that runs. Made by :func:`pybpf.bt.run`; closing it takes everything out of the kernel::

        with pybpf.bt.run('tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }') as running:
            time.sleep(10)
            print(dict(running.maps[""].items()))

    :ivar maps: name without the ``@`` -> map; readable until :meth:`close`.
    :ivar exit_code: what ``exit()`` was given; None: it was not called.
    :ivar names: what knows the names of addresses.
    """

    def __init__(self, script: CompiledScript) -> None:
        self.script = script
        self.names = Naming(script.shared)
        self.maps: Mapping[str, RunningMap] = {
            name: RunningMap(found, self.names) for name, found in script.shared.maps.items()
        }
        self.exit_code: int | None = None
        self._live = Live(script.shared, script.target, script.settings.missing_probes)
        self._left_out: list[Warned] = []
        self._lost = 0
        self._dropped: dict[str, int] = {}
        self._stopped = self._closed = self._runs_once = False

    def start(self) -> Running:
        """Load, run ``begin``, attach. :raises BpfError: something fails; nothing stays in the kernel."""
        self._watch()
        self._live.start(self.script.built)
        skipped = [site for site, _ in self._live.skipped]
        # all that it has are iterators, which run once, begin and end
        kinds = {each.site.kind for each in self.script.built if each.site not in skipped}
        self._runs_once = kinds <= {"iter", "begin", "end"}
        if self.script.settings.missing_probes == "warn":
            self._left_out = [Warned(str(error), self.place(site.span)) for site, error in self._live.skipped]
        return self

    @property
    def failed(self) -> Site | None:
        """The probe that could not be loaded or attached, where :meth:`start` has raised for one."""
        return self._live.failed

    def _watch(self) -> None:
        """Remember what the process that is traced has mapped, for when it has ended."""
        if self.script.pid is not None and self.script.shared.user_addresses:
            self.names.symbols.watch(self.script.pid)

    @property
    def probes(self) -> int:
        """How many probes there are, ``begin`` and ``end`` among them."""
        skipped = sum(site.places for site, _ in self._live.skipped)
        return sum(each.site.places for each in self.script.built) - skipped

    @property
    def lost(self) -> int:
        """How many events found no room."""
        return self.script.shared.actions.events.lost

    def place(self, span: Span) -> str:
        """``"FILE:LINE:FIRST-LAST"`` of a span of the script, as bpftrace writes it."""
        found = self.script.source.error(span, "")
        return f"{found.file}:{found.line}:{found.column}-{found.end_column}"

    # events

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Events as they come, until ``exit()`` is called, :meth:`stop`, or so many seconds are over.

        A script that has no probes but ``begin``, ``end`` and iterators is over when they have run.

        :raises ClosedError: the script was closed.
        """
        return _apart(self.runs(timeout))

    def runs(self, timeout: float | None = None) -> Iterator[Shown]:
        """The same, with what one ``printf()`` prints again and again together: five times as fast to show."""
        if self._closed:
            raise ClosedError("cannot read events: the script was closed")
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._runs_once:
            yield from self._rest()
            yield from self._act(self._iterated())
            return
        yield from self._act(self._iterated())
        while not self.over:
            self._watch()
            wait = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
            yield from self._act(self._poll(max(wait, 0)))
            yield from self._losses()
            if deadline is not None and time.monotonic() >= deadline:
                return

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def fileno(self) -> int:
        """A descriptor for event loops: readable when ``events(0)`` should be called; call it every second too."""
        return self.script.shared.actions.events.fileno()

    def _poll(self, seconds: float) -> Iterator[AskedRun]:
        actions = self.script.shared.actions
        return actions.runs(actions.events.poll(seconds))

    def _iterated(self) -> Iterator[AskedRun]:
        """What iterators tell: each is run once."""
        actions = self.script.shared.actions
        while self._live.iterators:
            yield from actions.runs(actions.split(self._live.iterators.pop(0).read()))

    @property
    def over(self) -> bool:
        """Whether it has ended: ``exit()`` was called, it was stopped, or all that it has runs once and has run."""
        return self._closed or self._stopped or self.exit_code is not None or self._runs_once

    def run(self, kind: str) -> int:
        """Run the probes of a kind that the kernel does not run: ``"self"``, ``"test"``, ``"bench"``.

        Returns how many there are.
        """
        return self._live.run(kind)

    def trials(self, kind: str) -> list[Trial]:
        """The probes of such a kind, to be run one by one."""
        from pybpf.bt.runtime.trials import Trial

        return [Trial(self, name, program) for name, program in self._live.special(kind)]

    def waiting(self) -> list[Event]:
        """The events that are there; an ``exit()`` among them does not end the script."""
        found = list(_apart(self._rest()))
        self.exit_code = None
        return found

    def _act(self, found: Iterable[AskedRun]) -> Iterator[Shown]:
        for run in found:
            if self._ended:
                return
            many = printed(self, run)
            if many is None:
                yield from self._act_apart(run)
            else:
                yield many

    def _act_apart(self, run: AskedRun) -> Iterator[Event]:
        for asked in run.apart():
            if self._ended:
                return
            event = ACTIONS[asked.action.name](self, asked)
            if isinstance(event, Exited):
                self.exit_code = event.code
            if event is not None:
                yield event

    @property
    def _ended(self) -> bool:
        """Whether what comes does not count: it came after ``exit()``, and ``end`` probes do not run yet."""
        return self.exit_code is not None and not self._stopped

    def _losses(self) -> Iterator[Event]:
        while self._left_out:
            yield self._left_out.pop(0)
        lost = self.lost
        if lost > self._lost:
            yield Lost(lost - self._lost)
            self._lost = lost
        for name, found in self.maps.items():
            dropped = found.dropped
            if dropped > self._dropped.get(name, 0):
                yield self._full(found, dropped - self._dropped.get(name, 0))
                self._dropped[name] = dropped

    def _full(self, found: RunningMap, count: int) -> Warned:
        times = "once" if count == 1 else f"{count} times"
        advice = f"let @{found.name} = hash({2 * found.map.entries});"
        message = f"Map full; can't update element: @{found.name} has {found.map.entries} entries and was full {times}"
        return Warned(f"{message}; set max_map_keys, or write {advice}", self.place(found.map.span))

    # the end

    def stop(self) -> list[Event]:
        """Detach, run ``end``; the events that were left, and those of ``end``. Maps stay. A second call: none."""
        return list(_apart(self.stop_runs()))

    def stop_runs(self) -> list[Shown]:
        """The same, with what one ``printf()`` prints together."""
        if self._stopped or self._closed:
            return []
        self._live.detach()
        before = list(self._rest())  # behind exit() there is nothing that counts
        self._stopped = True
        self._live.run("end")
        return before + list(self._rest())

    def _rest(self) -> Iterator[Shown]:
        actions = self.script.shared.actions
        while True:
            found = actions.events.poll(0)
            if not found:
                break
            yield from self._act(actions.runs(found))
        yield from self._losses()

    def shown_maps(self) -> list[MapShown]:
        """All maps that have something in them, by name: what bpftrace prints at the end."""
        if not self.script.settings.print_maps_on_exit:
            return []
        shown = (MapShown(found, found.ordered()) for _, found in sorted(self.maps.items()))
        return [each for each in shown if each.pairs]

    def close(self) -> None:
        """Take everything out of the kernel; ``end`` probes do not run. A second call does nothing."""
        self._closed = True
        self._live.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _apart(shown: Iterable[Shown]) -> Iterator[Event]:
    for each in shown:
        if isinstance(each, PrintedRun):
            yield from each.apart()
        else:
            yield each
