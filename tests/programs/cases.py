"""The tools, and how each is run by the tests that all of them have to pass."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pybpf.cli.tools import all_tools, find_tool
from pybpf.lang import Tracer
from pybpf.tool.command import options_of
from pybpf.tool.declare import Tool
from pybpf.tool.run import Run
from tests.symbols.elfmaker import BASE, CODE, Elf, usdt_note

_FILES = tempfile.TemporaryDirectory()
os.chmod(_FILES.name, 0o755)  # tools run as other users, too


def a_server() -> str:
    """A file that has the USDT probes of a PostgreSQL server; nobody runs it."""
    text = {"x86_64": "8@%rdi", "aarch64": "8@x0"}[os.uname().machine]
    notes = usdt_note("postgresql:query__start", BASE + CODE + 4, text)
    notes += usdt_note("postgresql:query__done", BASE + CODE + 8)
    return Elf(notes=notes).write(Path(_FILES.name) / "postgres")


#: Tools that need arguments -> those with which the tests run them. They trace a process of the test's, which is
#: given as ``--pid``; a tool that cannot be limited to one is run in virtual machines only.
ARGUMENTS: dict[str, Sequence[str]] = {
    "argdist": ["-C", "p:c:getpgid(int pid):int:pid"],
    "dbslower": ["postgres", "-x", a_server()],
    "funccount": ["c:getppid"],
    "funclatency": ["c:getppid"],
    "stackcount": ["c:getppid"],
    "trace": ['c:getpgid "%d", arg1'],
}
#: seconds that a tool may take to end
PATIENCE = 120
TOOLS = {tool.name: tool for tool in all_tools()}


def has(tool: Tool, name: str) -> bool:
    """Whether a tool has an option, by the name of its value."""
    return any(each.name == name for each in options_of(tool))


def command(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "pybpf", name, *options]


def run(name: str, *options: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end."""
    return subprocess.run(command(name, *options), capture_output=True, text=True, timeout=PATIENCE, **kwargs)


#: Runs a command, and says behind it how much memory it took. A small process, for what it has itself counts as well.
_MEASURED = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
print(f"\\npeak {used.ru_maxrss}", end="", file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measured(name: str, *options: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """As :func:`run`; and the most memory that it took, in MB."""
    words = [sys.executable, "-I", "-S", "-c", _MEASURED, *command(name, *options)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    done.stderr, _, peak = done.stderr.rpartition("\npeak ")
    return done, int(peak) * 1024 / 1e6


#: What is said of a run that is as good as it can be here: what is attached, by what it does without kprobes, and that
#: two stacks had one place in the kernel's table, which happens with few of them as well.
NOTICES = (
    ": attached to ", ": attaching ", "; counting system calls that succeed: ",
    "stacks could not be kept, for the place of each was taken by another",
)  # fmt: skip


def complaints(err: str) -> list[str]:
    """The lines on stderr that say more."""
    return [line for line in err.splitlines() if not any(notice in line for notice in NOTICES)]


class Running:
    """A tool that runs."""

    def __init__(self, name: str, *options: str, **kwargs: Any) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command(name, *options) if {"-v", "--verbose"} & {*options} else command(name, *options, "--verbose"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
        )  # fmt: skip

    def ready(self, header: str) -> str:
        """Wait until a line that starts so is printed: everything is attached then."""
        return self.until(lambda line: line.startswith(header), f"no line {header!r}")[-1]

    def until(self, wanted: Callable[[str], bool], else_say: str = "it ended") -> list[str]:
        """Wait for a line; all that were printed since, with that one as the last."""
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if wanted(line):
                return lines
        raise AssertionError(f"{else_say}: {self.ended()}")

    def attached(self) -> None:
        """Wait until it says on stderr that its probes are attached; for tools that print nothing before a report."""
        assert self.process.stderr
        said = []
        for line in self.process.stderr:
            if ": attached to " in line:
                return
            said.append(line)
        raise AssertionError(f"it is not attached, and ended with {self.ended()[0]}: {''.join(said)}")

    def stop(self, number: int = signal.SIGINT) -> list[str]:
        """End it as a user does; the lines that it has printed since."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> list[str]:
        """Wait until it ends, as it should: without complaints; the lines that it has printed since."""
        code, out, err = self.ended()
        assert code == 0 and not complaints(err), f"{self.name} ended with {code}, and said last:\n{err}"
        return out.splitlines()

    def ended(self) -> tuple[int, str, str]:
        """Wait until it ends: its exit code (less than zero: the signal that killed it), and what it has printed since.

        Not by communicate(), which does not have what :meth:`ready` and :meth:`attached` have read ahead.
        """
        assert self.process.stdout and self.process.stderr
        errors: list[str] = []
        reader = threading.Thread(target=lambda stream: errors.append(stream.read()), args=(self.process.stderr,))
        limit = threading.Timer(PATIENCE, self.process.kill)
        reader.start()
        limit.start()
        try:
            with self.process:
                out = self.process.stdout.read()
                reader.join()
        finally:
            limit.cancel()
        return self.process.returncode, out, errors[0]


def while_it_runs(name: str, work: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run a tool in this process, where a test can change what it finds: when it is attached ``work``, then its end."""
    begun: list[threading.Thread] = []

    def meanwhile() -> None:
        try:
            work()
        finally:  # the thread that waits has to be the one that is interrupted
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    start = Run.start

    def started(self: Run, tracer: Tracer) -> None:
        start(self, tracer)
        begun.append(threading.Thread(target=meanwhile))
        begun[0].start()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "start", started)
        code = find_tool(name).main(arguments)
    begun[0].join()
    return code
