"""What the bundled tracers share: options and their types, the wait between reports, how a run ends."""

from __future__ import annotations

import argparse
import errno
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, MappingProxyType
from typing import Any

from pybpf.errors import KernelError, NotFoundError, PermissionDenied

__all__ = [
    "Child", "Run", "add_options", "error_number", "parse", "parser", "pid", "positive", "require", "seconds",
    "syscall", "tid", "undisturbed",
]  # fmt: skip


#: the highest number that a system call could have
_MOST_NUMBER = (1 << 31) - 1


def require(*capabilities: str) -> None:
    """Find out before anything is made what the process lacks, all of it at once.

    :raises PermissionDenied: it lacks some of ``capabilities``.
    """
    from pybpf.sys.privilege import privileges

    missing = " and ".join(privileges().missing(*capabilities))
    if missing:
        advice = f"run as root, or give it {missing} (setpriv --ambient-caps, systemd AmbientCapabilities=)"
        raise PermissionDenied("trace", errno.EPERM, f"this process lacks {missing}", advice)


def parser(name: str, doc: str, examples: str) -> argparse.ArgumentParser:
    """An option parser for a tool: ``doc`` above the options, ``examples`` below."""
    return argparse.ArgumentParser(
        prog=f"pybpf {name}",
        description=doc,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def positive(text: str) -> int:
    """Option type: a whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


def seconds(text: str) -> float:
    """Option type: a time in seconds, a millisecond at least and finite; fractions are fine."""
    number = float(text)
    if not 0.001 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a time in seconds above zero (the least is 0.001)")
    return number


def tid(text: str) -> int:
    """Option type: the id of a thread that exists; a process is its first thread."""
    number = positive(text)
    if not os.path.exists(f"/proc/{number}"):
        raise argparse.ArgumentTypeError(f"there is no process or thread {number}")
    return number


def pid(text: str) -> int:
    """Option type: the id of a process that exists."""
    number = tid(text)
    with suppress(OSError), open(f"/proc/{number}/status", encoding="ascii", errors="replace") as file:
        process = next((int(line.split()[1]) for line in file if line.startswith("Tgid:")), number)
        if process != number:
            raise argparse.ArgumentTypeError(f"{number} is a thread of process {process}, not a process")
    return number


def syscall(text: str) -> int:
    """Option type: a system call of this machine, by name or number."""
    from pybpf.arch import host_arch, syscall_names
    from pybpf.sys.near import near

    numbers = {name: number for number, name in syscall_names(host_arch()).items()}
    number = numbers.get(text, int(text) if text.isdecimal() else None)
    if number is None or number > _MOST_NUMBER:
        alike = near(text, numbers, 1)
        hint = f"did you mean {alike[0]}?" if alike else "--list shows the names"
        raise argparse.ArgumentTypeError(f"no system call {text!r} on {host_arch().name}; {hint}")
    return number


def error_number(text: str) -> int:
    """Option type: an error by name (``ENOENT``) or number."""
    number = getattr(errno, text.upper(), None) if not text.isdecimal() else int(text)
    if not isinstance(number, int) or not 0 < number < 4096:
        raise argparse.ArgumentTypeError(f"no error {text!r}; write a name such as ENOENT, or its number")
    return number


def _option(*flags: str, **settings: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return flags, settings


#: Options that mean the same in every tracer that has them.
_OPTIONS: Mapping[str, tuple[tuple[str, ...], dict[str, Any]]] = MappingProxyType({
    "pid": _option("-p", "--pid", type=pid, help="only this process"),
    "tid": _option("-t", "--tid", type=tid, help="only this thread"),
    "ppid": _option("-c", "--ppid", type=pid, help="only children of this process"),
    "top": _option("-T", "--top", type=positive, default=10, metavar="N", help="print the first N lines (default: 10)"),
    "interval": _option("-i", "--interval", type=seconds, metavar="S",
                        help="print, and start from zero, every S seconds"),
    "duration": _option("-d", "--duration", type=seconds, metavar="S", help="end after S seconds (default: at Ctrl-C)"),
    "exec": _option("--exec", nargs=argparse.REMAINDER, metavar="COMMAND",
                    help="run a command, trace only it, end with it"),
})  # fmt: skip


def add_options(to: argparse.ArgumentParser, names: str) -> None:
    """Add options that tracers share: some of ``pid tid ppid top interval duration exec``, in this order of help."""
    for name in names.split():
        flags, settings = _OPTIONS[name]
        to.add_argument(*flags, **settings)


def parse(by: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The options; ends the process with a message where they are wrong, also together."""
    options = by.parse_args(arguments)
    chosen = vars(options)
    if chosen.get("exec") is not None and (not options.exec or chosen.get("pid") or chosen.get("tid")):
        by.error("--exec takes a command, and neither --pid nor --tid with it")
    return options


@contextmanager
def undisturbed() -> Iterator[None]:
    """Read maps in a ``with`` block, quickly: no ordinary task takes the CPU in it, where that is permitted.

    While a process uses a map, the kernel runs no programs at tracepoints on that CPU (``bpf_prog_active``). Kernels
    that let tasks preempt each other there would skip the programs, and count them as missed, for the other task.
    Needs CAP_SYS_NICE.
    """
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


class Run:
    """The time a tool runs: until ``duration`` is over, a signal, or the end of a child process.

    A context manager. Inside, SIGINT and SIGTERM end the run instead of the process, so that the final report is
    always made; a second one ends the process at once.

    :param duration: seconds, or None for no limit.
    :param pid: a process whose end ends the run, or None.
    """

    def __init__(self, duration: float | None = None, pid: int | None = None) -> None:
        self.duration = duration
        self.pid = pid
        self._handlers: dict[int, Any] = {}
        self._wake: tuple[int, int] | None = None

    def __enter__(self) -> Run:
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._stop)
        self.end = time.monotonic() + self.duration if self.duration else float("inf")
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for fd in self._wake or ():
            os.close(fd)
        self._wake = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, self._handlers[number])
        if self._wake:
            os.write(self._wake[1], b"x")

    def intervals(self, every: float | None) -> Iterator[float]:
        """Wait; yields the time (``time.time()``) at the end of each interval, the last one at the end of the run.

        :param every: seconds between reports, or None for one report at the end. Times do not drift.
        """
        assert self._wake, "use the run in a with statement"
        ready = select.poll()
        ready.register(self._wake[0], select.POLLIN)
        process = _pidfd(self.pid) if self.pid else None
        if process is not None:
            ready.register(process, select.POLLIN)
        due = time.monotonic() + every if every else float("inf")
        try:
            last = False
            while not last:
                wait = min(due, self.end) - time.monotonic()
                # poll(2) counts whole milliseconds: one more, or the last one would be spent in a busy loop
                woken = ready.poll(None if wait == float("inf") else max(0, wait) * 1000 + 1)
                now = time.monotonic()
                last = bool(woken) or now >= self.end
                if every and due <= now:
                    due = max(due + every * (1 + (now - due) // every), now)
                yield time.time()
        finally:
            if process is not None:
                os.close(process)


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where that cannot be had (Linux < 5.3)."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise NotFoundError(f"process {pid} has ended") from None
        return None


class Child:
    """A command that is started when the tracing is ready. A context manager; the child does not outlive it.

    :param command: its words; None: nothing is started.
    :ivar pid: its process; None without a command.
    :raises NotFoundError: there is no such command.
    """

    def __init__(self, command: Sequence[str] | None) -> None:
        self.command = list(command or ())
        self.pid: int | None = None
        if not self.command:
            return
        path = shutil.which(self.command[0])
        if path is None:
            raise NotFoundError(f"cannot run {self.command[0]!r}: no such command")
        self.path = path

    def __enter__(self) -> Child:
        if not self.command:
            return self
        gate, self._gate = os.pipe2(os.O_CLOEXEC)
        self._failure, failure = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            self._wait_and_run(gate, failure)
        os.close(gate)
        os.close(failure)
        return self

    def _wait_and_run(self, gate: int, failure: int) -> None:
        """The child's life, up to its becoming the command; never returns."""
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # Python ignores two of them, and tools handle the others
            os.close(self._gate)
            if os.read(gate, 1):
                os.execv(self.path, self.command)
        except OSError as error:
            os.write(failure, str(error.errno).encode())
        finally:
            os._exit(127)

    def start(self) -> None:
        """Let the command begin. :raises KernelError: it cannot be executed."""
        if self.pid is None:
            return
        os.write(self._gate, b"x")
        failure = os.read(self._failure, 16)  # the end of the file once the command runs
        if failure:
            raise KernelError(f"run {self.path}", int(failure))

    def __exit__(self, *error: object) -> None:
        if self.pid is None:
            return
        os.close(self._gate)
        os.close(self._failure)
        for number, patience in ((signal.SIGTERM, 1.0), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if self._reaped(self.pid, patience):
                return

    @staticmethod
    def _reaped(pid: int, patience: float | None) -> bool:
        """Wait for the child's end, ``patience`` seconds at most."""
        deadline = None if patience is None else time.monotonic() + patience
        while os.waitpid(pid, 0 if deadline is None else os.WNOHANG)[0] == 0:
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True
