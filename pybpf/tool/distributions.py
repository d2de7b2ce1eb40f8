"""``TimeReport``: histograms of times at intervals, as BCC's tools print them, as JSON, and as a heat map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pybpf.tool.heatmaps import HeatMaps
from pybpf.tool.output import clean
from pybpf.tool.scheduling import undisturbed

if TYPE_CHECKING:
    from pybpf.report import Histogram, Stats
    from pybpf.tool.run import Run

__all__ = ["UNITS", "TimeReport"]

#: nanoseconds of each unit
UNITS = MappingProxyType({"nsecs": 1, "usecs": 1_000, "msecs": 1_000_000})


class TimeReport:
    """The reports of a tool that has a histogram, or one for each disk, function, process::

        report = TimeReport(run, "usecs", "disk", name=disks.name_of)
        run.start(tracer)
        report.follow(spent.changes)

    :param unit: what times are counted in, one of :data:`UNITS`.
    :param section: by what histograms are told apart, as JSON calls it; ``""``: there is one alone.
    :param title: how text calls it.
    :param name: of a key of the histograms, what is shown.
    :param average: print average, total and count of all times, too; JSON has count and total where they are known.
    :param stamp: how ``--timestamp`` prints the time.
    """

    def __init__(
        self, run: Run, unit: str, section: str = "", title: str = "", *, name: Callable[[Any], Any] | None = None,
        average: bool = False, stamp: str = "%H:%M:%S\n",
    ) -> None:  # fmt: skip
        self.run = run
        self.unit = unit
        self.section = section
        self.title = title or section
        self.name = name or (lambda key: key)
        self.average = average
        self.stamp = stamp

    def follow(
        self, histograms: Callable[[], Mapping[Any, Histogram]], whole: Callable[[], Stats] | None = None
    ) -> None:
        """Report until the run ends.

        :param histograms: what an interval has counted, by key.
        :param whole: all times of an interval, in nanoseconds.
        """
        run, options = self.run, self.run.options
        maps = HeatMaps(run, self.unit)
        for when in run.intervals(maps.interval(options.interval), getattr(options, "count", None)):
            with undisturbed():
                counted, total = histograms(), whole() if whole else None
            found = {self.name(key) if self.section else "": each for key, each in counted.items()}
            named = {name: found[name] for name in sorted(found)}
            maps.add(when, {name if isinstance(name, str) else self._head(name): each for name, each in named.items()})
            if run.output.form == "json":
                run.output.object(self._object(when, named, total))
            else:
                self._print(when, named, total)
        maps.save()

    def _head(self, name: Any) -> str:
        return f"{self.title} = {clean(name)}" if self.section else ""

    def _object(self, when: float, named: Mapping[Any, Histogram], total: Stats | None) -> dict[str, Any]:
        rows = [{**({self.section: name} if self.section else {}), **each.to_dict()} for name, each in named.items()]
        sums = {} if total is None else {"count": total.count, "total_ns": total.total}
        return {"time": round(when, 3), "unit": self.unit, "histograms": rows, **sums}

    def _print(self, when: float, named: Mapping[Any, Histogram], total: Stats | None) -> None:
        output = self.run.output
        output.line()
        if self.run.options.timestamp:
            output.line(self.run.clock.now(self.stamp, when))
        for name, each in named.items():
            if self.section:
                output.line(f"\n{self._head(name)}")
            output.histogram(each, self.unit)
        if self.average and total is not None and total.count:
            time, unit = total.total // UNITS[self.unit], self.unit
            output.line(f"\navg = {time // total.count} {unit}, total: {time} {unit}, count: {total.count}\n")
