"""``StackKey`` and ``StackReport``: what tools share that count stacks: taking them, and showing them as BCC does."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pybpf.lang import KernelStack, UserStack, comm, kernel_stack, pid, user_stack
from pybpf.record import NamedTuple
from pybpf.tool import arguments
from pybpf.tool.declare import option
from pybpf.tool.options import shared
from pybpf.tool.output import clean
from pybpf.tool.pictures import Pictures, symbols_of
from pybpf.tool.scheduling import undisturbed
from pybpf.types import Struct, char, u32

if TYPE_CHECKING:
    from pybpf.symbols import Symbol
    from pybpf.tool.run import Run

__all__ = [
    "SECONDS",
    "STACK_OPTIONS",
    "StackKey",
    "StackKeys",
    "StackReport",
    "StackStyle",
    "check_stacks",
    "stack_title",
]

#: what tools that count stacks have in common
STACK_OPTIONS = (
    option("-K", "--kernel-stacks-only", action="store_true", help="only stacks of the kernel"),
    option("-U", "--user-stacks-only", action="store_true", help="only stacks of processes"),
    option("-d", "--delimited", action="store_true", help="mark where frames of the kernel meet those of the process"),
    option("--stack-storage-size", type=arguments.positive, default=16384, metavar="N",
           help="how many different stacks can be kept"),
    *shared("folded=-f flamegraph speedscope pprof"),
)  # fmt: skip


#: how long, as an argument
SECONDS = option("seconds", nargs="?", type=arguments.seconds, metavar="DURATION", help="end after so many seconds")


def check_stacks(options: Any) -> str:
    """What does not go together, for ``Tool(check=...)``; the argument :data:`SECONDS` becomes the duration."""
    seconds = getattr(options, "seconds", None)
    if seconds and options.duration:
        return f"there are two durations, {seconds:g} and --duration"
    options.duration = seconds or options.duration
    both = options.kernel_stacks_only and options.user_stacks_only
    return "--kernel-stacks-only and --user-stacks-only exclude each other" if both else ""


def stack_title(options: Any, whom: str = "all threads", where: str = "") -> str:
    """What tools of BCC say of whom they trace: ``PID 181 by user + kernel stack for 5 secs.``

    :param whom: without a process or thread.
    :param where: behind it, such as the CPU.
    """
    for name, ids in (("PID", options.pid), ("TID", options.tid)):
        if ids:
            whom = f"{name} {','.join(map(str, ids)) if isinstance(ids, tuple) else ids}"
            break
    what = "user" if options.user_stacks_only else "kernel" if options.kernel_stacks_only else "user + kernel"
    until = f" for {options.duration:g} secs." if options.duration else "... Hit Ctrl-C to end."
    return f"{whom} by {what} stack{where}{until}"


class StackKey(Struct):
    """What is counted by itself. Where it does not matter whose stack it is pid is 0 and comm empty."""

    pid: u32
    comm: str = char[16]
    kernel: KernelStack
    user: UserStack


class StackKeys:
    """Which stacks a tool takes::

        keys = StackKeys(kernel=True, user=True)
        tracer = run.tracer(max_stacks=options.stack_storage_size)
        counts = tracer.count(StackKey)

        def hit():
            counts[keys.now()].add()

    :param kernel: those of the kernel.
    :param user: those of the running process.
    :param process: each process, by pid and name, is counted by itself; with stacks of processes that is always so.
    """

    def __init__(self, kernel: bool, user: bool, process: bool = True) -> None:
        self.kernel = kernel
        self.user = user
        self.process = process or user

    def now(self) -> Any:
        """In a probe: the key of this moment."""
        if not self.process:
            return StackKey(kernel=kernel_stack())
        if not self.user:
            return StackKey(pid=pid(), comm=comm(), kernel=kernel_stack())
        if not self.kernel:
            return StackKey(pid=pid(), comm=comm(), user=user_stack())
        return StackKey(pid=pid(), comm=comm(), kernel=kernel_stack(), user=user_stack())


class StackStyle(NamedTuple):
    """How a tool of BCC prints a stack."""

    indent: str  #: before a frame
    process: str  #: of ``comm`` and ``pid``; ``""``: not shown
    value: str  #: of ``value``
    offset: bool = False  #: how far into the function
    address: bool = False  #: the address before each name
    annotate: bool = False  #: the kernel's functions end in ``_[k]``


class StackReport:
    """Prints stacks, the least first, in the form that the options ask for.

    :param keys: which stacks there are.
    :param style: of the text.
    :param measure: what is counted, for pictures: ``"samples"``.
    :param unit: as of :class:`~pybpf.report.StackCounts`.
    :param field: the name of the value in JSON.
    """

    def __init__(
        self, run: Run, keys: StackKeys, style: StackStyle, measure: str, unit: str = "count", field: str = "count"
    ) -> None:
        self._run = run
        self._keys = keys
        self._style = style
        self._field = field
        self._delimited: bool = run.options.delimited
        self._pictures = Pictures(run, measure, unit, "-" if self._delimited else "", style.annotate)
        self._missed: dict[StackKey, bool] = {}  # whether there was no room

    def follow(self, counted: Any, *, per: int = 1, times: bool = False) -> None:
        """Until the run ends: a report for each interval, of what has come since the one before.

        :param counted: the aggregate of numbers by :class:`StackKey`.
        :param per: by what they are divided.
        :param times: each report begins with the time.
        """
        run, options = self._run, self._run.options
        for when in run.intervals(options.interval, meanwhile=lambda: self.watch(counted)):
            with undisturbed():
                added = counted.changes()
            if not options.folded and not options.json:
                run.output.line()
            if times and not options.json:
                run.output.line(run.clock.now("%H:%M:%S", when))
            self.print(when, {key: value // per for key, value in added.items()})
        self.close()

    def print(self, when: float, values: Mapping[StackKey, int]) -> None:
        """One report."""
        keys, output = self._keys, self._run.output
        found = sorted(((value, key) for key, value in values.items() if value), key=lambda row: row[0])
        for value, key in found:
            ids = [stack.id for stack in (key.kernel, key.user) if stack.id < 0 and stack.id != -errno.EFAULT]
            if ids:
                self._missed[key] = -errno.ENOMEM in ids
            stacks = key.user if keys.user else None, key.kernel if keys.kernel else None
            self._pictures.add(value, *stacks, of=[key.comm] if keys.process else [])
        if output.form == "json":
            rows = [self._fields(key, value) for value, key in found]
            output.object({"time": round(when, 3), "stacks": rows})
        elif not self._pictures.print():
            for value, key in found:
                for line in self._text(key, value):
                    output.line(line)

    def watch(self, values: Iterable[StackKey]) -> None:
        """Look at the processes that have stacks by now: when they have ended, nobody knows the names any more."""
        if not self._keys.user:
            return
        with undisturbed():
            seen = {key.pid: key.user for key in values}
        for stack in seen.values():
            stack.remember()

    def close(self) -> None:
        """The end: writes the pictures, and says how many stacks there was no place for."""
        if self._missed:
            full = any(self._missed.values())
            why = "all places were taken" if full else "the place of each was taken by another"
            says = f"{len(self._missed)} stacks could not be kept, for {why}"
            self._run.warn(f"{says}; --stack-storage-size sets how many there are")
        self._pictures.save()

    def _frames(self, stack: KernelStack | UserStack, kernel: bool) -> list[str]:
        if not (self._keys.kernel if kernel else self._keys.user) or stack.id == -errno.EFAULT:
            return []
        if stack.id < 0:
            return [f"{self._style.indent}[Missed {'Kernel' if kernel else 'User'} Stack]"]
        return [f"{self._style.indent}{self._frame(symbol, kernel)}" for symbol in symbols_of(stack)]

    def _frame(self, symbol: Symbol, kernel: bool) -> str:
        style = self._style
        offset = f"+{symbol.offset:#x}" if style.offset and symbol.known else ""
        name = f"{clean(symbol.demangled)}{offset}{'_[k]' if kernel and style.annotate else ''}"
        return f"{symbol.address:<16x} {name}" if style.address else name

    def _text(self, key: StackKey, value: int) -> Iterator[str]:
        style, kernel, user = self._style, self._frames(key.kernel, True), self._frames(key.user, False)
        yield from kernel
        if self._delimited and kernel and user:
            yield "    --"
        yield from user
        if self._keys.process and style.process:
            yield style.process.format(comm=clean(key.comm), pid=key.pid)
        yield style.value.format(value=value)
        yield ""

    def _fields(self, key: StackKey, value: int) -> dict[str, Any]:
        keys = self._keys
        process = {"pid": key.pid, "comm": key.comm} if keys.process else {}
        kernel = {"kernel": [each.demangled for each in symbols_of(key.kernel)]} if keys.kernel else {}
        user = {"user": [each.demangled for each in symbols_of(key.user)]} if keys.user else {}
        return {**process, **kernel, **user, self._field: value}
