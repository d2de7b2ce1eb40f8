"""The kinds of probes: what makes places of the attach points of each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pybpf.bt.probes.arguments import Arguments
from pybpf.bt.probes.kernel import fentry, iterator, kprobe, rawtracepoint, tracepoint
from pybpf.bt.probes.place import Environment, Place, Resolve, Wants
from pybpf.bt.probes.timed import counter, interval, profile, watchpoint
from pybpf.bt.probes.user import uprobe, usdt
from pybpf.bt.syntax.attachpoints import AttachPoint
from pybpf.sys.bpf import ProgType

__all__ = ["RESOLVE", "SPECIAL", "resolve"]

#: Kinds whose programs user space runs itself.
SPECIAL = frozenset({"begin", "end", "self", "test", "bench"})


def _special(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """``begin`` and its like: a raw tracepoint's program, which can be run without a tracepoint (Linux 5.10)."""
    return [Place(point.kind, point.text, ProgType.RAW_TRACEPOINT, Arguments(), None, point=point)]


#: Kind -> what makes places of an attach point of it.
RESOLVE: Mapping[str, Resolve] = MappingProxyType({
    **dict.fromkeys(SPECIAL, _special),
    "interval": interval,
    "profile": profile,
    "software": counter,
    "hardware": counter,
    "tracepoint": tracepoint,
    "rawtracepoint": rawtracepoint,
    "kprobe": kprobe,
    "kretprobe": kprobe,
    "fentry": fentry,
    "fexit": fentry,
    "uprobe": uprobe,
    "uretprobe": uprobe,
    "usdt": usdt,
    "iter": iterator,
    "watchpoint": watchpoint,
})  # fmt: skip


def resolve(point: AttachPoint, wants: Wants, environment: Environment) -> list[Place]:
    """The places that an attach point names.

    :raises NotFoundError: there is none.
    :raises BpfError: it cannot be.
    """
    return RESOLVE[point.kind](point, wants, environment)
