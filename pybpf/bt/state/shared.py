"""What the programs of one script share: maps, actions, counts, stacks. Pure data until the script runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pybpf.bt.state.actions import Actions
from pybpf.bt.state.maps import ScriptMap
from pybpf.lang.state.counts import Counts
from pybpf.maps import MapSpec
from pybpf.sys.bpf import MapType
from pybpf.types import u32, u64

if TYPE_CHECKING:
    from pybpf.bt.state.settings import Settings
    from pybpf.lang.state.stacks import Stacks

__all__ = ["Began", "Shared"]


class Began:
    """When the script began, for programs: nanoseconds of the clock that they read."""

    spec = MapSpec(MapType.ARRAY, u32, u64, 1, "AT_began", typed=False)

    def __init__(self) -> None:
        self._map: Any = None

    def bind(self, loaded: Any) -> None:
        """The map has been created."""
        self._map = loaded

    def set(self, time: int) -> None:
        """It begins now."""
        if self._map is not None:
            self._map[0] = time


class Shared:
    """What the programs share.

    :ivar maps: name -> map of the script.
    :ivar stacks: depth -> the map that has stacks of so many frames.
    :ivar began: when the script began.
    :ivar probes: names of probes; programs know their numbers.
    :ivar user_addresses: whether addresses of processes get names.
    """

    def __init__(self, settings: Settings, maps: Mapping[str, ScriptMap], counts: Counts) -> None:
        self.settings = settings
        self.counts = counts
        self.maps = dict(maps)
        self.actions = Actions(counts, settings.perf_rb_pages)
        self.stacks: dict[int, Stacks] = {}
        self.began = Began()
        self.user_addresses = False
        self.probes: list[str] = []

    def number_probes(self, names: Sequence[str]) -> int:
        """The number of the first of these names of probes; the others follow."""
        first = len(self.probes)
        if len(names) == 1 and names[0] in self.probes:
            return self.probes.index(names[0])
        self.probes += names
        return first

    def stacks_of(self, depth: int) -> Stacks:
        """The stacks of a depth."""
        found = self.stacks.get(depth)
        if found is None:
            from pybpf.lang.state.stacks import Stacks

            found = self.stacks[depth] = Stacks(depth=depth)
        return found
