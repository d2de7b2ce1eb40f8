"""What the probes of one tracer have in common while they are compiled: filters, prints, stacks."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from pybpf.compiler.ir import Counter
from pybpf.lang.builtins.printing import Prints
from pybpf.lang.front.gen import Gen
from pybpf.lang.probes.probe import Param, Probe
from pybpf.lang.state.counts import Counts
from pybpf.lang.state.stacks import Stacks
from pybpf.lang.tracer.filters import Filters
from pybpf.lang.values.val import Val
from pybpf.record import dataclass

__all__ = ["Session", "TracedProbe", "session_of"]

#: kinds of probes that run in whatever task happens to be there: who that is says nothing about the event
_ANYWHERE = frozenset({"interval", "iterator", "syscall"})


@dataclass(frozen=True, eq=False)
class Session:
    """Pure data: it can be made, and compiled for, without a kernel.

    :param counts: what probes could not do.
    :param filters: whose events are wanted.
    :param stacks: where stacks are kept.
    :param prints: what ``print()`` writes to.
    """

    counts: Counts
    filters: Filters
    stacks: Stacks
    prints: Prints


@dataclass(frozen=True)
class TracedProbe(Probe):
    """A probe of a tracer.

    :param everyone: the filters of the session do not count here.
    """

    session: Session | None = None
    everyone: bool = False

    def bind(self, gen: Gen, params: Sequence[Param]) -> list[Val]:
        if self.session is not None and not self.everyone and self.kind not in _ANYWHERE:
            self.session.filters.compile(gen)
        return super().bind(gen, params)

    def owns(self, counts: Counts) -> bool:
        return self.session is None or self.session.counts is counts

    def skipped(self, gen: Gen) -> Counter | None:
        if self.session is None:
            return None
        counts = self.session.counts
        offset = 8 * counts.skipped.index
        return Counter(gen.map_name(counts), counts.spec, offset)

    def count_cut(self, gen: Gen) -> None:
        if self.session is not None and gen.b.reachable:
            self.session.counts.cut.bump(gen)


def session_of(gen: Gen, at: ast.AST, what: str) -> Session:
    """The session of what is compiled. :raises CompileError: it is no probe of a tracer."""
    if isinstance(gen.probe, TracedProbe) and gen.probe.session is not None:
        return gen.probe.session
    gen.fail(at, f"{what} needs a tracer: decorate the function by one")
