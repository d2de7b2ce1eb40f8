"""The example programs, run as a user runs them, on processes that the test starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import POSTGRES, postgres

# the symbols of large programs take an emulated processor minutes
pytestmark = [pytest.mark.root, pytest.mark.native]

ROOT = Path(__file__).parent.parent.parent

SYSCALLS = """
import ctypes, sys
libc = ctypes.CDLL(None)
for line in sys.stdin:
    for _ in range(321):
        libc.getpgid(0)
    libc.poll(None, 0, 30)
    print("done", flush=True)
"""

MALLOCS = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
for line in sys.stdin:
    libc.free(libc.malloc(int(line)))
    print("done", flush=True)
"""


class Child:
    """A process that does something for every line that it is sent."""

    def __init__(self, source: str) -> None:
        command = [sys.executable, "-c", source]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def do(self, line: str = "") -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def close(self) -> None:
        self.process.communicate()


def start(name: str, *options: str, until: str) -> subprocess.Popen[str]:
    """An example that has said that it traces."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / name), *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    assert process.stdout
    for line in process.stdout:
        if line.startswith(until):
            return process
    raise AssertionError(process.communicate()[1])


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    """What it prints, up to a line that has some text."""
    assert process.stdout
    found = []
    for line in process.stdout:
        found.append(line.rstrip("\n"))
        if last in line:
            return found
    raise AssertionError(f"no {last!r} in {found}")


def interrupt(process: subprocess.Popen[str]) -> str:
    """What it prints until Ctrl-C has ended it."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("\nExiting...\n")
    return out


def test_syscall_latency() -> None:
    child = Child(SYSCALLS)
    process = start("syscall_latency.py", "-p", str(child.pid), "-i", "1.5", "1", until="Tracing")
    child.do()
    out, err = process.communicate(timeout=120)
    child.close()
    assert (process.returncode, err) == (0, "")
    rows = {line.split()[0]: [float(each) for each in line.split()[1:]] for line in out.splitlines() if "." in line}
    count, average, longest = rows["getpgid"]
    assert count == 321 and 0 < average <= longest
    count, average, longest = rows["poll" if "poll" in rows else "ppoll"]
    assert count == 1 and average == longest and longest >= 30_000
    assert re.search(r"^\d\d:\d\d:\d\d Syscall Latency Report$", out, re.MULTILINE)


@pytest.mark.needs("uprobe")
def test_malloc_stacks() -> None:
    child = Child(MALLOCS)
    process = start("malloc_stacks.py", "-p", str(child.pid), "300000", until="Press")
    for size in ("299999", "300000", "654321", "777777"):
        child.do(size)
    out = "\n".join(lines_until(process, "777777"))  # until then the stacks before have been printed
    interrupt(process)
    child.close()
    head = rf"python\S* \(pid={child.pid}, tid={child.pid}\)"
    assert re.findall(rf"{head}\n  Allocated (\d+) bytes\n  Stack trace:\n    \S", out) == ["300000", "654321"]
    assert "ffi" in out  # ctypes calls by libffi: a frame of a library, with its name


@pytest.fixture
def server() -> Iterator[Path]:
    """A PostgreSQL server of our own, reached by a socket in a directory."""
    with postgres() as directory:
        yield directory


@pytest.mark.needs("uprobe")
def test_postgres_trace(server: Path) -> None:
    pipe = subprocess.PIPE
    command = ["psql", "-h", str(server), "-U", "postgres", "-X", "-q", "-A", "-t"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as client:
        assert client.stdin and client.stdout
        print("select pg_backend_pid();", file=client.stdin, flush=True)
        pid = client.stdout.readline().strip()
        process = start("postgres_trace.py", "-p", pid, f"{POSTGRES}/postgres", until="-----")
        query = "select pg_sleep(0.05), 'a text that is longer than the sixty characters that are shown';"
        print(query, "select 1;", "select 'ende';", file=client.stdin, sep="\n", flush=True)
        while client.stdout.readline() != "ende\n":
            pass
        rows = [line.split(maxsplit=2) for line in lines_until(process, "'ende'")]
        interrupt(process)
    assert [(row[0], row[2]) for row in rows] == [(pid, query[:60]), (pid, "select 1;"), (pid, "select 'ende';")]
    assert float(rows[0][1]) >= 50 and float(rows[1][1]) > 0
