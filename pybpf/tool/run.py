"""``Run``: one run of a tool, from its options to its exit: the tracer, the command, the loop, the end."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pybpf.errors import PermissionDenied
from pybpf.lazy import collect_again
from pybpf.tool.child import Child
from pybpf.tool.clock import Clock
from pybpf.tool.columns import Column, Rows
from pybpf.tool.ending import Ending
from pybpf.tool.losses import Losses
from pybpf.tool.output import Output
from pybpf.tool.pinned import MAPS, only_in

if TYPE_CHECKING:
    from pybpf.lang import Tracer
    from pybpf.tool.declare import Tool
    from pybpf.tool.timeline import Moment, Timeline

__all__ = ["Run", "require"]

#: options that say whose events are wanted
_WHOM = ("pid", "tid", "uid", "comm", "ppid", "cgroup", "container", *MAPS)
#: seconds after which attaching says how far it is, and how often then
_PATIENCE = 0.5


def require(*capabilities: str) -> None:
    """Find out before anything is made what the process lacks, all of it at once.

    :raises PermissionDenied: it lacks some of ``capabilities``.
    """
    from pybpf.sys.privilege import privileges

    state = privileges()
    missing = state.missing(*capabilities)
    if missing:
        from pybpf.sys.causes import lack

        cause = lack(missing, state)
        raise PermissionDenied("trace", errno.EPERM, cause.text, cause.advice)
    if state.seccomp_filter:
        from pybpf.sys.bpf import Cmd, bpf_raw
        from pybpf.sys.explain import explain

        answer = -bpf_raw(Cmd.MAP_CREATE, 0, 2 * 65536)  # a size that the kernel, if it is asked, refuses first of all
        if answer != errno.E2BIG:
            raise explain("trace", OSError(answer, os.strerror(answer)), "map_create")


class Run:
    """What the ``trace`` function of a tool is given. In the order of their use::

        def trace(run):
            tracer = run.tracer()                       # with the filters of the options
            opens = tracer.events(Open)
            ...                                         # probes
            rows = run.rows(columns(run))
            run.start(tracer)                           # attached; the command begins
            rows.header()
            run.deliver({opens: rows.write})            # until the end, whatever ends it

    or, for what is summed up, ``for when in run.intervals(options.interval):`` in the place of the last line. When
    ``trace`` returns everything is detached, and what was lost is reported.

    :ivar options: the parsed options.
    :ivar output: where to print.
    :ivar clock: times of events.
    :ivar child: the command that is traced, if there is one.
    """

    def __init__(self, tool: Tool, options: argparse.Namespace) -> None:
        self.tool = tool
        self.options = options
        form = next((form for form in ("json", "csv", "folded") if getattr(options, form, False)), "text")
        self.output = Output(form)
        self.clock = Clock()
        self.child = Child(getattr(options, "exec", None) or getattr(options, "command", None))
        self.losses: Losses | None = None
        self._tracer: Tracer | None = None
        self._ending = Ending()
        self._stack = ExitStack()
        self._cut = False

    def __enter__(self) -> Run:
        with ExitStack() as undo:
            undo.enter_context(self._ending)
            undo.enter_context(self.child)
            self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                self.output.flush()

    @property
    def pid(self) -> int | None:
        """The process that is traced, if that is only one: that of the command, or of the options."""
        pid = self.child.pid or getattr(self.options, "pid", None)
        return pid if isinstance(pid, int) else None

    @property
    def repeats(self) -> bool:
        """Whether the options ask for more than one report: what counts by key is then to be double-buffered."""
        return any(vars(self.options).get(name) is not None for name in ("interval", "heatmap"))

    def require(self) -> None:
        """Find out what the tool lacks, before it looks for anything; :meth:`tracer` does it, too.

        :raises PermissionDenied: the process lacks a capability that the tool needs.
        """
        require(*self.tool.needs)

    def tracer(self, **filters: Any) -> Tracer:
        """A tracer with the filters of the options, or of the command.

        :param filters: what the tool itself sets, as for :class:`~pybpf.Tracer`.
        :raises PermissionDenied: the process lacks a capability that the tool needs.
        """
        from pybpf.lang import Tracer

        self.require()
        chosen = vars(self.options)
        for name in ("pid", "tid", "uid", "comm", "cgroup", "ppid", "follow"):
            filters.setdefault(name, chosen.get(name))
        if self.child.pid is not None:
            filters["pid"] = self.child.pid
        if chosen.get("container") is not None:
            from pybpf.tool.container import container_cgroup

            filters["cgroup"] = container_cgroup(chosen["container"])
        filters["follow"] = bool(filters["follow"]) or (self.child.pid is not None and self.tool.follows)
        filters.setdefault("on_print", self.output.text)
        tracer = Tracer(**filters)
        if any(chosen.get(name) is not None for name in MAPS):
            only_in(tracer, **{name: chosen.get(name) for name in MAPS})
        return tracer

    @property
    def chooses_tasks(self) -> bool:
        """Whether the options, or a command, say whose events are wanted."""
        return self.child.pid is not None or any(vars(self.options).get(name) is not None for name in _WHOM)

    def rows(
        self, columns: list[Column], style: Callable[[Any], str] | None = None, moment: Moment | None = None
    ) -> Rows:
        """What writes rows in the form that the options ask for.

        :param moment: how a row is shown on a time line, where ``shared("perfetto")`` asks for one.
        """
        rows = Rows(self.output, columns, style)
        timeline = self.timeline()
        if moment is not None and timeline is not None:
            write, add = rows.write, timeline.row_adder(moment, columns)
            rows.write = lambda row: (write(row), add(row))[0]
        return rows

    def timeline(self) -> Timeline | None:
        """The file of a time line, where the options ask for one; closed when the run ends.

        :raises BpfError: it cannot be written.
        """
        path = vars(self.options).get("perfetto")
        if not path:
            return None
        from pybpf.tool.timeline import Timeline

        timeline = Timeline(path, self.tool.name)
        self._stack.callback(timeline.close)
        return timeline

    def start(self, tracer: Tracer) -> None:
        """Attach; then the command begins, and the time counts.

        :raises BpfError: as :meth:`pybpf.Tracer.attach`; the command cannot be executed.
        """
        from pybpf.lang.values.shapes import release_types

        self._stack.callback(tracer.close)
        followed = getattr(self.options, "follow", False)
        pid = self.child.pid or (None if followed else getattr(self.options, "pid", None))
        self._ending.start(pid=pid)  # one that ends from now on ends the run as any does
        tracer.attach(_Progress(self.tool.name))
        self._tracer = tracer
        self.losses = Losses(self.tool.name, tracer)
        if getattr(self.options, "verbose", False):
            self._tell(tracer)
        release_types()  # all is compiled
        collect_again()
        self._ending.start(getattr(self.options, "duration", None))
        self.child.start()

    def _tell(self, tracer: Tracer) -> None:
        from pybpf.compiler.target import Target

        target = Target.host()
        for each in tracer.declared:
            print(f"{self.tool.name}: attached to {each.probe.chosen(target).title}", file=sys.stderr)

    def say(self, text: str) -> None:
        """A line for people, such as ``"Tracing ... Hit Ctrl-C to end."``; other forms do not have it."""
        self.output.say(text)

    def warn(self, text: str) -> None:
        """A line on stderr, of what went wrong while it ran."""
        print(f"{self.tool.name}: {text}", file=sys.stderr, flush=True)

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self._ending.over

    def stop(self) -> None:
        """End the run, from inside of a handler; events that are still there are left."""
        self._cut = True
        self._ending.stop()

    def deliver(
        self,
        handlers: Mapping[Any, Callable[[Any], object]] | None = None,
        every: float | None = None,
        callback: Callable[[], object] | None = None,
    ) -> None:
        """Call handlers with events, and write what they print, until the run ends; what was sent by then is delivered.

        :param handlers: stream of events -> what is called with each of them.
        :param every: seconds after which ``callback`` is called, again and again.
        """
        assert self._tracer is not None and self.losses is not None, "start the run before"
        ending, output = self._ending, self.output
        due = time.monotonic() + every if every else float("inf")
        with self._tracer.pumping(handlers or {}) as pump:
            ending.watch(pump.fileno())
            try:
                while not ending.over:
                    now = time.monotonic()
                    busy = pump.turn()
                    if now >= due and callback is not None:
                        callback()
                        due = max(due + (every or 0), now)
                    output.flush()
                    self.losses.look()
                    ending.wait(0 if busy else min(due, now + 1.0))  # one that is slow announces nothing
            finally:
                ending.unwatch(pump.fileno())
            self.losses.last()
            self._tracer.detach()
            while not self._cut and pump.turn():
                output.flush()
        output.flush()
        self.losses.look(final=True)

    def intervals(
        self, every: float | None = None, count: int | None = None, meanwhile: Callable[[], object] | None = None
    ) -> Iterator[float]:
        """Wait; yields the time (``time.time()``) at the end of each interval, the last one at the end of the run.

        :param every: seconds between reports, or None for one report at the end. Times do not drift.
        :param count: of intervals, or None for no limit.
        :param meanwhile: is called every second, and some more times in the first one.
        """
        assert self.losses is not None, "start the run before"
        for when in self._ending.intervals(every, count, meanwhile):
            yield when
            self.output.flush()
            self.losses.look(final=True)


class _Progress:
    """Says how far attaching is, on stderr, when it takes long."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next: float | None = None

    def __call__(self, number: int, of: int) -> None:
        now = time.monotonic()
        if self._next is None:
            self._next = now + _PATIENCE
        if now >= self._next and number < of:
            self._next = now + _PATIENCE
            print(f"{self._name}: attaching {number} of {of}", file=sys.stderr, flush=True)
