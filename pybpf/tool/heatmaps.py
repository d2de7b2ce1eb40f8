"""``HeatMaps``: the histograms that a tool prints at intervals, kept for the heat map that ``--heatmap`` asks for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pybpf.tool.files import write_file

if TYPE_CHECKING:
    from pybpf.report import Histogram
    from pybpf.tool.run import Run

__all__ = ["HeatMaps"]

#: seconds between reports where the options do not say
_EVERY = 1.0


class HeatMaps:
    """What the option ``shared("heatmap")`` asks for::

        maps = HeatMaps(run, "usecs")
        for when in run.intervals(maps.interval(options.interval)):
            histograms = ...                          # of this interval only
            maps.add(when, {"disk = sda": ...})
        maps.save()

    :param unit: of what is counted: ``"usecs"``; ``""`` if it has none.
    """

    def __init__(self, run: Run, unit: str = "") -> None:
        self._path: str | None = vars(run.options).get("heatmap")
        self._since = time.time()
        if self._path:
            from pybpf.report import HeatMap

            self._map = HeatMap(f"{run.tool.name}: {run.tool.summary}", unit)

    def interval(self, chosen: float | None) -> float | None:
        """Seconds between reports: those of the options, or a second where a heat map is wanted."""
        return chosen or (_EVERY if self._path else None)

    def add(self, when: float, histograms: Mapping[str, Histogram]) -> None:
        """Add an interval, which ends at ``when``.

        :param histograms: by what each is about, ``""`` if there is only one.
        """
        if self._path:
            self._map.add(self._since, when, histograms)
            self._since = when

    def save(self) -> None:
        """Write the file. :raises BpfError: it cannot be written."""
        if self._path:
            write_file(self._path, self._map.html().encode())
