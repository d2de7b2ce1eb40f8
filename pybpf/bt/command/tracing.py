"""A script that runs in the foreground: from attaching to its last line, whatever ends it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pybpf.bt.command.ending import Ending
from pybpf.bt.runtime.events import Printed, PrintedRun, Warned
from pybpf.errors import BpfError

if TYPE_CHECKING:
    from pybpf.bt import CompiledScript, Running
    from pybpf.bt.command.options import Options
    from pybpf.bt.runtime.command import Command
    from pybpf.bt.runtime.events import Shown

__all__ = ["started", "trace"]

#: set by scripts around bpftrace that wait until everything is attached; they wait for this line
_NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"


def trace(
    compiled: CompiledScript,
    again: Callable[[BpfError], CompiledScript],
    command: Command | None,
    options: Options,
    stream: TextIO,
) -> int:
    """Run a script until it calls ``exit()``, its command or process ends, or a signal comes; returns its exit code.

    :param again: called where it cannot be started: gives another one that may, or raises.
    """
    from pybpf.bt.show.output import output_of

    shown = output_of(options.format, stream, sys.stderr, options.buffering)
    ending = Ending(_ended(command, options.pid))
    with ending, _started_or_again(compiled, again) as running, _usr1(running):
        ending.asked_only()
        if options.verbose:
            _tell(running)
        if not options.quiet:
            shown.attached(running.probes)
        if os.environ.get(_NOTIFY):
            print(_NOTIFY, flush=True)
        if command is not None:
            command.go()

        def show(events: Iterable[Shown]) -> None:
            for event in events:
                if options.warnings or not _warns(event):
                    shown.event(event)

        show(_events(running, ending))
        show(running.stop_runs())
        shown.end(running.shown_maps())
        stream.flush()
        return running.exit_code or 0


def _warns(event: Shown) -> bool:
    """Whether --no-warnings leaves it out."""
    if isinstance(event, (Printed, PrintedRun)):
        return event.name == "warnf"
    return isinstance(event, Warned) and event.severity == "WARNING"


def _started_or_again(compiled: CompiledScript, again: Callable[[BpfError], CompiledScript]) -> Running:
    try:
        return started(compiled)
    except BpfError as error:
        return started(again(error))


def started(compiled: CompiledScript) -> Running:
    """The script, started. :raises CompileError: the kernel does not take a probe, at which it points."""
    from pybpf.bt import Running

    running = Running(compiled)
    try:
        return running.start()
    except BpfError as error:
        if running.failed is None:
            raise
        raise compiled.source.error(running.failed.span, str(error)) from None


def _ended(command: Command | None, pid: int | None) -> Callable[[], bool] | None:
    """Whether what is traced has ended; None: nothing ends the script but itself."""
    if command is not None:
        return command.ended
    if pid is not None:
        return lambda: not os.path.exists(f"/proc/{pid}")
    return None


def _events(running: Running, ending: Ending) -> Iterator[Shown]:
    """Events as they come, until the script ends, or is to end."""
    while True:
        last, none = ending.over, True
        for event in running.runs(0):
            none = False
            yield event
        if last or running.over:
            return
        if none:
            ending.wait(running.fileno())


@contextmanager
def _usr1(running: Running) -> Iterator[None]:
    """SIGUSR1 runs the probes ``self:signal:SIGUSR1``; without them it is nothing."""
    before = signal.signal(signal.SIGUSR1, lambda number, frame: running.run("self"))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _tell(running: Running) -> None:
    """What is loaded, on stderr."""
    for each in running.script.built:
        spec = each.compiled.spec
        name = spec.type.name.lower()
        print(f"{each.site.name}: {name} program, {spec.code.slots} instructions", file=sys.stderr)
