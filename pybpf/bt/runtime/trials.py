"""``test`` and ``bench`` probes: run one by one, and timed by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybpf.bt.runtime.events import Event, Exited, Printed, Warned
from pybpf.bt.runtime.live import run_once
from pybpf.record import NamedTuple

if TYPE_CHECKING:
    from pybpf.bt.runtime.running import Running
    from pybpf.prog import Program

__all__ = ["Outcome", "Trial"]

#: ns that the runs of a benchmark take together, at least
_LONG_ENOUGH = 1_000_000
#: the same, of runs that take hardly any time
_MOST_RUNS = 1 << 20


class Outcome(NamedTuple):
    """What came of runs of a probe.

    :ivar result: what it returned last.
    :ivar time: ns of a run.
    :ivar events: what it told, without ``exit()``.
    :ivar code: what ``exit()`` was given; None: it was not called.
    """

    result: int
    runs: int
    time: int
    events: list[Event]
    code: int | None

    @property
    def failed(self) -> bool:
        """Whether there was an error: by ``errorf()``, by an assertion, by another exit code than 0."""
        return bool(self.code) or any(
            (isinstance(each, Printed) and each.name == "errorf")
            or (isinstance(each, Warned) and each.severity == "ERROR")
            for each in self.events
        )


class Trial:
    """A probe that is run on demand, while the kernel counts run times (:func:`pybpf.prog.run_time_stats`).

    :ivar name: of the probe, without its kind.
    """

    def __init__(self, running: Running, name: str, program: Program) -> None:
        self.name = name.partition(":")[2] or name
        self._running = running
        self._program = program

    def run(self, times: int = 1) -> Outcome:
        """Run it so many times; ends after the first that calls ``exit()``."""
        before = self._program.stats
        result, code = 0, None
        events: list[Event] = []
        for _ in range(times):
            result = run_once(self._program)
            for event in self._running.waiting():
                if isinstance(event, Exited):
                    code = event.code
                else:
                    events.append(event)
            if code is not None:
                break
        after = self._program.stats
        runs = after.run_cnt - before.run_cnt
        return Outcome(result, runs, (after.run_time_ns - before.run_time_ns) // max(runs, 1), events, code)

    def measure(self) -> Outcome:
        """Run it until that has taken a millisecond, or it returns something else than 0, or there is an error."""
        found = self.run()
        times = 1
        while not (found.result or found.failed or found.runs * found.time >= _LONG_ENOUGH or times >= _MOST_RUNS):
            times *= 10 if found.runs * found.time < _LONG_ENOUGH // 10 else 2
            found = self.run(times)
        return found
