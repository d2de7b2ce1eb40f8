"""The bundled tracers with less than all privileges: ``python -m tests.reliability.privilege`` (as root).

Prints a table for docs/privileges.md: what each tool does in each situation. A tool is run as a fork of a process that
was brought into the situation, on a process that does nothing, for a moment. ``--system`` runs those as well that
cannot be told to trace one process; a machine where that disturbs nobody is an emulated one:
``python -m tests.vm --kernel 5.10-x86_64 --shell 'python3 -m tests.reliability.privilege --system'``.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pybpf.arch import host_arch, syscall_names
from pybpf.tool.declare import Tool
from tests import forks
from tests.programs.cases import ARGUMENTS, TOOLS, complaints
from tests.sys.child import NOBODY, become, refuse_by_seccomp

__all__ = ["SITUATIONS", "Outcome", "Situation", "outcomes", "table", "tools_of_a_process"]

#: tools that are told something else than one process
_OTHERS: dict[str, Sequence[str]] = {"biolatency": ["--duration", "0.05"], "tplist": ["sched:*"]}
ROOT = Path(__file__).parents[2]
#: seconds that one run may take
LIMIT = 120
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
_PR_SET_DUMPABLE = 4
_libc = ctypes.CDLL(None, use_errno=True)


class Outcome(NamedTuple):
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def works(self) -> bool:
        return self.code == 0

    @property
    def reason(self) -> str:
        """What it says on stderr, without its name."""
        return "\n".join(line.partition(": ")[2] for line in complaints(self.err))


class Situation(NamedTuple):
    """What is taken from a process, and what tools should say then."""

    name: str  #: heading of its column
    text: str
    enter: Callable[[], object]
    works: bool | None  #: whether tools work; None: some do
    lacks: str = ""  #: a regular expression that is found in the line of those that do not
    forks: bool = False  #: it counts for the children of the process that enters it


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def _number(call: str) -> int:
    return next(number for number, name in syscall_names(host_arch()).items() if name == call)


def _own_mounts() -> None:
    _unshare(_CLONE_NEWNS)
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")


def _user_namespace() -> None:
    _unshare(_CLONE_NEWUSER)
    Path("/proc/self/uid_map").write_text("0 0 1")


def _pid_namespace() -> None:
    _own_mounts()
    _unshare(_CLONE_NEWPID)


def _over(place: str, text: str) -> None:
    """A file with other contents in the place of one of the kernel's."""
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o444)
    _check(_libc.mount(file.name.encode(), place.encode(), None, _MS_BIND, None), "mount")
    os.unlink(file.name)


def _no_tracefs() -> None:
    """Neither mounted nor to be mounted."""
    _own_mounts()
    for place in ("/sys/kernel/debug/tracing", "/sys/kernel/tracing", "/sys/kernel/debug"):
        while _libc.umount2(place.encode(), _MNT_DETACH) == 0:
            pass
    for call in ("mount", "fsopen"):
        refuse_by_seccomp(_number(call), errno.EPERM)


def _no_btf() -> None:
    _own_mounts()
    _check(_libc.mount(b"none", b"/sys/kernel/btf", b"tmpfs", 0, None), "mount")


def _no_addresses() -> None:
    _own_mounts()
    with open("/proc/kallsyms") as file:
        lines = [f"{'0' * 16} {line.split(None, 1)[1]}" for line in file]
    _over("/proc/kallsyms", "".join(lines))


def _no_memlock() -> None:
    _user("BPF", "PERFMON")()
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))


def _user(*capabilities: str) -> Callable[[], object]:
    def enter() -> None:
        _own_mounts()
        for path in {sys.prefix, sys.base_prefix, str(ROOT)}:
            _reveal(Path(path))
        become(NOBODY, capabilities)

    return enter


def _reveal(path: Path) -> None:
    """Let all users reach a directory, in this mount namespace: this Python and tree may lie in a home of root's."""
    for parent in reversed(path.parents):
        if parent.stat().st_mode & 0o001:
            continue
        hidden = os.open(parent, os.O_PATH)
        _check(_libc.mount(b"none", bytes(parent), b"tmpfs", 0, b"mode=755"), "mount")
        child = parent / path.relative_to(parent).parts[0]
        child.mkdir()
        source = f"/proc/self/fd/{hidden}/{child.name}".encode()
        _check(_libc.mount(source, bytes(child), None, _MS_BIND | _MS_REC, None), "mount")
        os.close(hidden)


SITUATIONS = (
    Situation("root", "root", int, True),
    Situation("BPF+PERFMON", "a user with exactly CAP_BPF and CAP_PERFMON", _user("BPF", "PERFMON"), None,
              "tracefs|restricted kernel"),
    Situation("BPF", "a user with CAP_BPF", _user("BPF"), False, "CAP_PERFMON"),
    Situation("PERFMON", "a user with CAP_PERFMON", _user("PERFMON"), False, "CAP_BPF"),
    Situation("user", "a user with neither", _user(), False, "CAP_BPF and CAP_PERFMON"),
    Situation("seccomp", "a seccomp filter refuses bpf(2)",
              lambda: refuse_by_seccomp(host_arch().nr_bpf, errno.EPERM), False, "seccomp"),
    Situation("memlock", "a user with both, and RLIMIT_MEMLOCK 0", _no_memlock, None,
              "MEMLOCK|tracefs|restricted kernel"),
    Situation("user ns", "root of a user namespace", _user_namespace, False, "user namespace"),
    Situation("pid ns", "root in a pid namespace", _pid_namespace, True, forks=True),
    Situation("no tracefs", "tracefs is not mounted and cannot be", _no_tracefs, None,
              "tracefs"),
    Situation("no BTF", "/sys/kernel/btf is empty", _no_btf, None, "BTF"),
    Situation("no addresses", "/proc/kallsyms shows no addresses", _no_addresses, True),
)  # fmt: skip


def tools_of_a_process() -> list[Tool]:
    """Those that can be told to trace any one process, and to end by themselves."""
    return [tool for tool in TOOLS.values() if tool.name not in _OTHERS]


def outcomes(situation: Situation, tools: Iterable[Tool]) -> dict[str, Outcome]:
    """Run each tool for a moment in a situation, on a process of its own that does nothing."""
    found: dict[str, Outcome] = {}
    for tool in tools:
        found[tool.name] = _forked(partial(_enter_and_run, situation, tool))
    return found


def _enter_and_run(situation: Situation, tool: Tool) -> int:
    os.setsid()  # what it starts ends with it
    situation.enter()
    if not situation.forks:
        return _run(tool)
    inner = os.fork()
    if inner:
        return os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
    _check(_libc.mount(b"proc", b"/proc", b"proc", 0, None), "mount")
    return _run(tool)


def _run(tool: Tool) -> int:
    quiet = os.fork()
    if not quiet:
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # which changing the user has cleared: its user may look at it
        signal.pause()
    ours = [*ARGUMENTS.get(tool.name, ()), "--pid", str(quiet), "--duration", "0.05"]
    words = [tool.name, *_OTHERS.get(tool.name, ours)]
    runner = os.fork()
    if not runner:
        forks.become(words, None)
    code = os.waitstatus_to_exitcode(os.waitpid(runner, 0)[1])
    os.kill(quiet, signal.SIGKILL)
    os.waitpid(quiet, 0)
    return code


def _forked(work: Callable[[], int]) -> Outcome:
    """Do ``work`` in a child; what it printed and its result."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            code = 99
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                code = work()
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            os._exit(code & 0xFF)
        deadline = time.monotonic() + LIMIT
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return Outcome(os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode())


def table(results: dict[str, dict[str, Outcome]]) -> str:
    """Markdown: a row for each tool, a column for each situation; below, what is said by those that do not work."""
    reasons: dict[str, int] = {}

    def cell(outcome: Outcome) -> str:
        if outcome.works:
            return "works"
        return str(reasons.setdefault(outcome.reason, len(reasons) + 1))

    names = list(results)
    lines = ["| tool | needs | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for tool in next(iter(results.values())):
        cells = [cell(results[name][tool]) for name in names]
        lines.append(f"| `{tool}` | {', '.join(TOOLS[tool].needs) or 'nothing'} | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    names = [situation.name for situation in SITUATIONS]
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.privilege", description=__doc__)
    parser.add_argument("tool", nargs="*", help="these only")
    parser.add_argument("--system", action="store_true", help="also tools that trace the whole system")
    parser.add_argument("--situation", choices=names, action="append", help="this only; can be given again")
    options = parser.parse_args(arguments)
    known = list(TOOLS.values()) if options.system else tools_of_a_process()
    tools = [tool for tool in known if tool.name in options.tool or not options.tool]
    results = {}
    for situation in SITUATIONS:
        if situation.name in (options.situation or names):
            print(f"{situation.name}: {situation.text}", file=sys.stderr)
            results[situation.name] = outcomes(situation, tools)
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
