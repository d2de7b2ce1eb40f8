"""A process and its descendants, kept by the kernel as they begin and end: for filters that follow children."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pybpf.compiler.target import Target
from pybpf.lang.builtins.kernel import current_task, has_field
from pybpf.lang.builtins.process import ns_pid, pid, tid
from pybpf.lang.state.maps import Hash
from pybpf.lang.values.running import is_initial

if TYPE_CHECKING:
    from pybpf.lang.tracer.declare import Declares

__all__ = ["MOST_FOLLOWED", "Family"]

#: how many descendants can live at a time
MOST_FOLLOWED = 16384
_CLONE_THREAD = 0x10000


class Family:
    """The processes that a filter lets pass.

    :param root: the id of the first one, in this process's pid namespace.
    :param members: the descendants, by their ids in the initial namespace.
    """

    def __init__(self, root: int, members: Hash) -> None:
        self.root = root
        self.members = members

        def has() -> bool:
            return ns_pid() == root or pid() in members

        self.has = has

    def declare(self, tracer: Declares, target: Target) -> None:
        """Let the tracer see processes begin, by a first probe, and end, by a second."""
        members, has = self.members, self.has

        def born(child: int, flags: int) -> None:
            # An id comes into use here alone: what the one that had it before has left, goes.
            if not flags & _CLONE_THREAD:
                if has():
                    members[child] = 1
                else:
                    del members[child]

        def born_raw(task: Any, clone_flags: Any) -> None:
            born(task.pid, clone_flags)

        def born_record(args: Any) -> None:
            born(args.pid, args.clone_flags)

        def dies() -> None:
            # The first thread may end before others; they count where the kernel's types tell.
            if has_field("struct signal_struct", "live"):
                if current_task().signal.live.counter == 0:
                    del members[pid()]
            elif tid() == pid():
                del members[pid()]

        if target.types() is not None:
            tracer.raw_tracepoint("task_newtask", everyone=True)(born_raw)
            tracer.raw_tracepoint("sched_process_exit", everyone=True)(dies)
        else:
            tracer.tracepoint("task:task_newtask", everyone=True)(born_record)
            tracer.tracepoint("sched:sched_process_exit", everyone=True)(dies)

    def look_up(self) -> None:
        """Enter the descendants that there are already: where this process sees them by their own ids."""
        if not is_initial():
            return
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry))
        found = children.get(self.root, [])
        while found:
            process = found.pop()
            self.members[process] = 1
            found += children.get(process, [])
