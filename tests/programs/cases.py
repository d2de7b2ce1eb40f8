"""The tools, and how each is run by the tests that all of them have to pass."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from pybpf.cli.tools import all_tools
from pybpf.tool.command import options_of
from pybpf.tool.declare import Tool

#: Tools that need arguments -> those with which the tests run them. They trace a process of the test's, which is
#: given as ``--pid``; a tool that cannot be limited to one is run in virtual machines only.
ARGUMENTS: dict[str, Sequence[str]] = {
    "argdist": ["-C", "p:c:getpgid(int pid):int:pid"],
    "funccount": ["c:getppid"],
    "stackcount": ["c:getppid"],
    "trace": ['c:getpgid "%d", arg1'],
}
TOOLS = {tool.name: tool for tool in all_tools()}


def has(tool: Tool, name: str) -> bool:
    """Whether a tool has an option, by the name of its value."""
    return any(each.name == name for each in options_of(tool))


def command(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "pybpf", name, *options]


def run(name: str, *options: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end."""
    return subprocess.run(command(name, *options), capture_output=True, text=True, timeout=120, **kwargs)


def complaints(err: str) -> list[str]:
    """The lines on stderr that say more than what is attached."""
    return [line for line in err.splitlines() if ": attached to " not in line and ": attaching " not in line]


class Running:
    """A tool that runs; ``lines`` are those of its output that were read."""

    def __init__(self, name: str, *options: str, **kwargs: Any) -> None:
        self.process = subprocess.Popen(
            command(name, *options) if {"-v", "--verbose"} & {*options} else command(name, *options, "--verbose"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
        )  # fmt: skip

    def ready(self, header: str) -> str:
        """Wait until a line that starts so is printed: everything is attached then."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(header):
                return line
        raise AssertionError(f"no line {header!r}: {self.process.communicate()}")

    def attached(self) -> None:
        """Wait until it says on stderr that its probes are attached; for tools that print nothing before a report."""
        assert self.process.stderr
        for line in self.process.stderr:
            if ": attached to " in line:
                return
        raise AssertionError(f"it ended: {self.process.communicate()}")

    def stop(self, number: int = signal.SIGINT) -> list[str]:
        """End it as a user does; the lines that it has printed since."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> list[str]:
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0 and not complaints(err), err
        return out.splitlines()
