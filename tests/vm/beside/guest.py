"""What runs in the guest: each command line with BCC's tool and with pybpf's at once, and a table of the outcomes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pybpf.cli.tools import find_tool
from pybpf.tool.command import options_of
from tests.programs.workload import Caller

from .cases import CASES, TOOLS, Case, rows_of, work

OUT = Path("/tmp/out/table.md")
#: tools that run one after the other: where BCC has a uprobe, the kernel refuses others (with another counter of
#: listeners, says EINVAL), for its Python does not pass that it wants none
APART = ("trace", "funccount", "argdist")
#: seconds that a tool may take to start, or to end: BCC compiles in an emulated machine
PATIENCE = 300.0


class Tool:
    """A tool that runs; what it prints is collected."""

    def __init__(self, command: list[str], case: Case) -> None:
        self.lines: list[str] = []
        self._case = case
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def _reports(self) -> int:
        return sum(bool(re.match(self._case.ready, line)) for line in self.lines)

    def wait_for(self, more: int) -> None:
        """Until it has said so often that it is ready, or printed a report."""
        wanted, end = self._reports() + more, time.monotonic() + PATIENCE
        while self._reports() < wanted and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)

    def stop(self) -> list[str]:
        """End it as people do; the lines after the one that says that it is ready, that one first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        limit = threading.Timer(PATIENCE, self.process.kill)
        limit.start()
        self._reader.join()
        self.process.wait()
        limit.cancel()
        start = next((i for i, line in enumerate(self.lines) if re.match(self._case.ready, line)), None)
        return ["no output:", *self.lines[-5:]] if start is None else self.lines[start:]


@dataclass
class Outcome:
    """What came of a command line."""

    case: Case
    header: bool  #: whether both have the same
    ours: list[str]
    theirs: list[str]

    @property
    def same(self) -> bool:
        """Whether both print the same."""
        return self.header and self.ours == self.theirs

    @property
    def text(self) -> str:
        """In words."""
        header = "" if self.header else "; the header differs"
        if self.ours == self.theirs:
            return f"the same, {len(self.ours)} lines{header}"
        alike = sum(a == b for a, b in zip(self.ours, self.theirs))
        return f"BCC {len(self.theirs)} lines, pybpf {len(self.ours)}, {alike} alike{header}"


def _collect(case: Case, caller: Caller, commands: list[list[str]]) -> list[list[str]]:
    """What each prints while all of them run and the work is done."""
    tools = []
    for command in commands:
        tools.append(Tool(command, case))
        tools[-1].wait_for(1)
    work(case.work, caller)
    if case.repeats:
        for tool in tools:
            tool.wait_for(2)
    time.sleep(1)  # of an emulated machine: what was sent is read
    return [tool.stop() for tool in tools]


def compare(case: Case) -> Outcome:
    with Caller() as caller:
        caller.call("prctl,15,'called")
        words = [word.format(pid=caller.pid, own=os.getpid()) for word in shlex.split(case.options)]
        theirs = [f"/usr/sbin/{case.tool}-bpfcc", *words]
        ours = [sys.executable, "-m", "pybpf", case.tool, *words]
        if case.tool in APART:
            (their_lines,), (our_lines,) = (_collect(case, caller, [each]) for each in (theirs, ours))
        else:
            their_lines, our_lines = _collect(case, caller, [theirs, ours])
    (our_head, our_rows), (their_head, their_rows) = rows_of(case, our_lines), rows_of(case, their_lines)
    outcome = Outcome(case, our_head == their_head, our_rows, their_rows)
    print(f"{case.tool} {case.options}: {outcome.text}", flush=True)
    if not outcome.same:
        for name, lines in (("BCC", their_lines), ("pybpf", our_lines)):
            print("\n".join(f"  {name:6}{line}" for line in lines[:40]), flush=True)
    return outcome


def flags_of(text: str) -> set[str]:
    """The options in a help text of argparse."""
    found = set()
    for line in text.split("options:")[-1].splitlines():
        if re.match(r"  -", line):
            found |= set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", line.strip().split("  ")[0]))
    return found


def lacking(tool: str) -> list[str]:
    """The options of BCC's tool that pybpf's does not have."""
    help_text = subprocess.run([f"/usr/sbin/{tool}-bpfcc", "--help"], capture_output=True, text=True).stdout
    have = {flag for each in options_of(find_tool(tool)) for flag in each.flags} | {"-h", "--help"}
    return sorted(flags_of(help_text) - have)


TITLE = """\
# Beside BCC

What the tools print beside those of BCC {version}, on Linux {kernel} ({day}), for the same work: made by
`python -m tests.vm.beside`{here}. Left out of the comparison are times, how Python writes bytes (`b'...'`), and what
BCC says when it cannot detach. `{{pid}}` is a process that makes some calls.
"""
HERE = """ with `--here`, which leaves out what needs
kprobes or the headers of the kernel that runs (rows of `execsnoop`, `opensnoop` and `biolatency`)"""


def markdown(outcomes: list[Outcome], anywhere: bool) -> str:
    asked = ["dpkg-query", "-f", "${Version}", "-W", "bpfcc-tools"]
    version = subprocess.run(asked, capture_output=True, text=True).stdout.partition("+")[0] or "0.26"
    day = time.strftime("%Y-%m-%d")
    lines = [TITLE.format(version=version, kernel=os.uname().release, day=day, here=HERE if anywhere else "")]
    lines += ["| command line | what both print |", "| --- | --- |"]
    for each in outcomes:
        text = f"{each.case.tool} {each.case.options}".replace("|", "\\|")
        note = f"; {each.case.note}" if each.case.note else ""
        lines.append(f"| `{text}` | {each.text}{note} |")
    lines += ["", "| tool | options of BCC's that it lacks |", "| --- | --- |"]
    lines += [f"| `{tool}` | {', '.join(lacking(tool)) or 'none'} |" for tool in TOOLS]
    return "\n".join(lines) + "\n"


def main(only: str = "", out: Path = OUT, anywhere: bool = False) -> int:
    """Compare, print, and write the table.

    :param only: command lines with this in them.
    :param anywhere: only what needs neither kprobes nor headers of this kernel.
    """
    chosen = [case for case in CASES if only in f"{case.tool} {case.options}" and (case.anywhere or not anywhere)]
    text = markdown([compare(case) for case in chosen], anywhere)
    out.parent.mkdir(exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
