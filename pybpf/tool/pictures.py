"""``Pictures``: the stacks that a tool counts, as folded lines, flame graph, and for speedscope and pprof."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pybpf.lazy import regex
from pybpf.report import Frame, StackCounts, printable
from pybpf.tool.files import write_file

if TYPE_CHECKING:
    from pybpf.lang import KernelStack, UserStack
    from pybpf.symbols import Symbol
    from pybpf.tool.run import Run

__all__ = ["Pictures", "frame_text", "frames_of", "symbols_of"]

#: what stands for stacks that are there and could not be kept
_MISSED = {"user": "[Missed User Stack]", "kernel": "[Missed Kernel Stack]"}

#: functions that take a tracepoint's record, run a program, take a stack
_TRACING = regex(r"bpf_(prog_|trace_|get_stack)|__bpf_trace_|__traceiter_|perf_(trace|syscall)_|trace_call_bpf")


class Pictures:
    """What the options ``shared("pictures")`` ask for::

        pictures = Pictures(run, "samples")
        for when in run.intervals(options.interval):
            for key, count in counts.changes().items():
                pictures.add(count, key.user, key.kernel, of=[key.comm])
            pictures.print()                          # with --folded, what was added since the last call
        pictures.save()                               # the files, with all that was added

    :param measure: what is counted: ``"samples"``, ``"off-CPU time"``.
    :param unit: as of :class:`~pybpf.report.StackCounts`.
    :param delimiter: with ``--folded`` between frames of the process and of the kernel.
    :param annotate: with ``--folded`` mark frames of the kernel.
    :ivar wanted: whether any of the options is given; without, :meth:`add` does nothing.
    """

    def __init__(
        self, run: Run, measure: str, unit: str = "count", delimiter: str = "", annotate: bool = False
    ) -> None:
        self._run = run
        options = vars(run.options)
        self._folded = bool(options.get("folded"))
        self._files = {form: options[form] for form in ("flamegraph", "speedscope", "pprof") if options.get(form)}
        self.wanted = self._folded or bool(self._files)
        self._style = delimiter, annotate
        self._lines = StackCounts(measure, unit)
        self._all = StackCounts(measure, unit)
        self._started = time.time()

    def add(
        self,
        value: int,
        user: UserStack | list[Symbol] | None = None,
        kernel: KernelStack | list[Symbol] | None = None,
        of: Iterable[str] = (),
    ) -> None:
        """Add to a stack. Its names are looked up now; or they were, and are given, innermost first.

        :param value: what is not above zero is left out.
        :param user: below, the part that is the process.
        :param kernel: above it.
        :param of: whose it is, the names at the very bottom.
        """
        if not self.wanted:
            return
        frames = [Frame(name, "process") for name in of]
        frames += [] if user is None else reversed(frames_of(user, "user"))
        frames += [] if kernel is None else reversed(frames_of(kernel, "kernel"))
        if self._folded:
            self._lines.add(frames, value)
        if self._files:
            self._all.add(frames, value)

    def clear(self) -> None:
        """Forget what was added: for tools whose numbers are those of the moment."""
        self._lines.clear()
        self._all.clear()

    def print(self) -> bool:
        """Print folded lines, where they are asked for, of what was added since the last call.

        :return: whether they are.
        """
        if self._folded:
            from pybpf.report import folded

            for line in folded(self._lines, *self._style):
                self._run.output.line(line)
            self._lines.clear()
        return self._folded

    def save(self) -> None:
        """Write the files. :raises BpfError: one of them cannot be written."""
        for form, path in self._files.items():
            write_file(path, b"".join(self._written(form)))

    def _written(self, form: str) -> Iterator[bytes]:
        title = f"{self._run.tool.name}: {self._all.measure}"
        if form == "flamegraph":
            from pybpf.report import flame_graph

            yield flame_graph(self._all, title).encode()
        elif form == "speedscope":
            from pybpf.report import speedscope

            yield speedscope(self._all, title).encode()
        else:
            from pybpf.report import pprof

            yield pprof(self._all, title, self._started, time.time() - self._started)


def frames_of(stack: KernelStack | UserStack | list[Symbol], kind: str) -> list[Frame]:
    """The frames of a stack, innermost first; one that says so where there was a stack that could not be kept.

    :param kind: ``"user"`` or ``"kernel"``.
    """
    if isinstance(stack, list):
        symbols = stack
    elif stack.id < 0 and stack.id != -errno.EFAULT:
        return [Frame(_MISSED[kind], kind)]
    else:
        symbols = symbols_of(stack)
    return [Frame(symbol.demangled, kind, symbol.path or symbol.module) for symbol in symbols]


def symbols_of(stack: KernelStack | UserStack) -> list[Symbol]:
    """The functions of a stack, innermost first, without those of the kernel that are there because it is traced."""
    found = stack.frames
    while found and not found[0].path and _TRACING.match(found[0].name):
        del found[0]
    return found


def frame_text(symbol: Symbol, offset: bool = True, module: bool = True) -> str:
    """A frame as BCC prints it: ``malloc+0x1f [libc.so.6]``, safe to print.

    :param offset: with the bytes from the start of the function.
    :param module: with the file that has it; of functions of the kernel ``[kernel]``.
    """
    name = printable(symbol.demangled)
    name += f"+{symbol.offset:#x}" if offset and symbol.known else ""
    file = printable(symbol.module).strip("[]") or ("kernel" if symbol.known else "")  # [vdso], [stack]
    return f"{name} [{file}]" if module and file else name
