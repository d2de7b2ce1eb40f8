"""``LeakReport``: memory that was not given back, by the stacks that asked for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pybpf.record import NamedTuple
from pybpf.tool.output import clean
from pybpf.tool.pictures import Pictures, frame_text, symbols_of
from pybpf.tool.scheduling import undisturbed

if TYPE_CHECKING:
    from pybpf.symbols import Symbol
    from pybpf.tool.run import Run

__all__ = ["LeakReport", "Left"]


class Left(NamedTuple):
    """Memory that was not given back."""

    address: int
    size: int
    number: int  #: of allocations; 0: another part of the one before
    stack: Any


class Group(NamedTuple):
    """The allocations of a stack that were not given back."""

    size: int
    number: int
    stack: Any


def groups_of(found: Iterable[Left]) -> list[Group]:
    """Them by stack, in no order."""
    sums: dict[Any, Group] = {}
    for each in found:
        key = each.stack.id, getattr(each.stack, "pid", 0)
        size, number, stack = sums.get(key, (0, 0, each.stack))
        sums[key] = Group(size + each.size, number + each.number, stack)
    return list(sums.values())


class LeakReport:
    """Prints memory that was not given back, as BCC's memleak does.

    :param user: it is that of processes, not the kernel's.
    :ivar reports: how many were printed.
    """

    def __init__(self, run: Run, user: bool) -> None:
        self.run = run
        self.user = user
        self.pictures = Pictures(run, "allocated", "bytes")
        self.names: dict[Any, list[Symbol]] = {}
        self.reports = 0

    def frames(self, stack: Any) -> list[Symbol]:
        """The frames of a stack, innermost first."""
        key = stack.id, getattr(stack, "pid", 0)
        found = self.names.get(key)
        if found is None:
            found = symbols_of(stack)
            if all(frame.module for frame in found):  # else what is mapped there is not known yet: asked again
                self.names[key] = found
        return found

    def print(self, left: Iterable[Left], sums: Iterable[Left] | None = None) -> None:
        """One report.

        :param left: each of them; is gone through once, and kept with --show-allocs alone: they may be a million.
        :param sums: them by stack, where that is known.
        """
        options, output, now = self.run.options, self.run.output, time.time()
        with undisturbed():
            found = sorted(left, key=lambda each: each.size) if options.show_allocs else []
            groups = groups_of(found or left if sums is None else sums)
        groups.sort(key=lambda group: (group.number, group.size) if options.sort == "count" else group[:2])
        self.reports += 1
        if self.pictures.wanted:
            self.pictures.clear()
            for group in groups:
                frames = self.frames(group.stack) if group.stack.id >= 0 else group.stack
                self.pictures.add(group.size, frames if self.user else None, None if self.user else frames)
        if self.pictures.print():
            return
        top = groups[-options.top :]
        if output.form == "json":
            self._print_json(now, found, groups, top)
            return
        output.line(f"[{time.strftime('%H:%M:%S', time.localtime(now))}] Top {options.top} stacks with outstanding "
                    "allocations:")  # fmt: skip
        for each in found:
            output.line(f"\taddr = {each.address:x} size = {each.size}")
        for group in top:
            output.line(f"\t{group.size} bytes in {group.number} allocations from stack")
            for frame in self.frames(group.stack):
                output.line(f"\t\t0x{frame.address:016x}\t{frame_text(frame)}")
            if group.stack.id < 0:
                output.line("\t\t[no stack]")

    def _print_json(self, now: float, found: Sequence[Left], groups: list[Group], top: list[Group]) -> None:
        stacks = [
            {"bytes": group.size, "count": group.number,
             **({"pid": group.stack.pid} if self.user else {}),
             "stack": [str(frame) for frame in self.frames(group.stack)]}
            for group in top
        ]  # fmt: skip
        allocations = [{"address": each.address, "bytes": each.size} for each in found]
        self.run.output.object({
            "time": round(now, 3), "bytes": sum(group.size for group in groups),
            "count": sum(group.number for group in groups), "stacks": stacks,
            **({"allocations": allocations} if self.run.options.show_allocs else {}),
        })  # fmt: skip

    def step(self, event: Any, freed: bool, address: int, size: int) -> None:
        """What -t prints of an allocation or a free.

        :param event: has ``time``, ``pid``, ``cpu`` and ``comm``.
        """
        run = self.run
        if run.output.form == "json":
            run.output.object({
                "time": run.clock.unix(event.time), "pid": event.pid, "comm": event.comm, "cpu": event.cpu,
                "event": "free" if freed else "alloc", "address": address, "bytes": size,
            })  # fmt: skip
            return
        result = f"alloc exited, size = {size}, result = {address:x}"
        if freed:
            result = f"free entered, address = {address:x}, size = {size}"
        seconds = f"{run.clock.since_begin(event.time):.6f}"
        run.output.line(f"({clean(event.comm)} {event.pid} {event.cpu} {seconds}) {result}")
