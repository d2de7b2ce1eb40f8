"""Run functions of the DSL that share maps with the test: what the tests of memory, maps and events rest on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pybpf.lang.state.counts import Counts
from pybpf.lang.state.output import Events
from tests.lang import harness

__all__ = ["Shared"]


class Shared:
    """Maps of a test: made like those of a tracer, bound while a function is loaded.

    >>> shared = Shared()
    >>> hits = shared(Hash, u32, u64, 100)
    >>> with shared.load(function, hits) as run:  # doctest: +SKIP
    ...     run(7)
    ...     dict(hits.items())
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self._number = 0

    def name(self) -> str:
        """Another name."""
        self._number += 1
        return f"map{self._number}"

    @contextmanager
    def load(
        self, function: Callable[..., Any], *parts: Any, without: Iterable[str] = ()
    ) -> Iterator[harness.Loaded]:
        """Load a function; ``parts`` are the maps and event streams that it uses and the test reads.

        :param without: features of this kernel to do without.
        """
        with harness.load(function, without=without) as program, ExitStack() as readers:
            beside = [each for part in parts for each in getattr(part, "beside", ())]
            for part in (*parts, *beside, self.counts):
                name = part.name
                if name in program.maps:
                    part.bind(program.maps[name])
                if isinstance(part, (Counts, Events)):
                    readers.callback(part.close)
            yield program
