"""exitsnoop, killsnoop, capable, bashreadline: exact rows for processes that the tests start."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pybpf.cli.tools import find_tool
from pybpf.tool import places
from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]


def rows_of(tool: str, script: str, *options: str) -> list[dict[str, Any]]:
    """What a tool tells, as JSON, of a shell's script."""
    follow = [] if find_tool(tool).follows else ["--follow"]
    found = run(tool, "--json", *options, *follow, "--exec", "sh", "-c", script)
    assert found.returncode == 0 and "Traceback" not in found.stderr, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]


# --- exitsnoop


def test_how_processes_end() -> None:
    script = "(exit 3); /bin/true; sh -c 'kill -TERM $$'; sleep 0.3; exit 7"
    rows = rows_of("exitsnoop", script)
    found = [(row["comm"], row["exit_code"], row["signal"]) for row in rows]
    assert found == [("sh", 3, 0), ("true", 0, 0), ("sh", 0, signal.SIGTERM), ("sleep", 0, 0), ("sh", 7, 0)]
    ages = [row["age_s"] for row in rows]
    assert 0.3 <= ages[3] < 5 and ages[4] > ages[3] and all(row["pid"] == row["tid"] for row in rows)
    assert {row["ppid"] for row in rows[:-1]} == {rows[-1]["pid"]}


def test_columns_of_exitsnoop_are_those_of_bcc() -> None:
    found = run("exitsnoop", "-t", "--label", "x", "--exec", "sh", "-c", "kill -KILL $$")
    header, row = found.stdout.splitlines()
    zone = time.strftime("%Z")
    title = f"TIME-{zone}"
    assert header == (f"{title:<13}{'LABEL':<6}{'PCOMM':<16} {'PID':<7} {'PPID':<7} {'TID':<7} {'AGE(s)':<7} EXIT_CODE")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} x     sh {15}\d+ +\d+ +\d+ +\d+\.\d\d +signal 9 \(KILL\)", row), row


def test_the_time_in_utc() -> None:
    found = run("exitsnoop", "--utc", "--exec", "true")
    assert re.match(r"TIME-UTC     PCOMM .*\n\d\d:\d\d:\d\d\.\d{3} true ", found.stdout), found.stdout


def test_only_failures_and_threads() -> None:
    script = "(exit 3); /bin/true; sh -c 'kill -TERM $$'; exit 0"
    assert [row["exit_code"] or row["signal"] for row in rows_of("exitsnoop", script, "-x")] == [3, signal.SIGTERM]
    threads = "import threading; [threading.Thread(target=int).start() for _ in range(5)]"
    found = run("exitsnoop", "--json", "--per-thread", "--exec", sys.executable, "-S", "-c", threads)
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(rows) == 6 and len({row["tid"] for row in rows}) == 6 and len({row["pid"] for row in rows}) == 1


# The first thread ends; when it has, another one ends the process.
FIRST_THREAD_ENDS = """
import ctypes, os, threading
pid, number = os.getpid(), {"x86_64": 60, "aarch64": 93}[os.uname().machine]
def other():
    open("/proc/thread-self/comm", "w").write("other")
    while open(f"/proc/self/task/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
        pass
    os._exit(3)
threading.Thread(target=other).start()
ctypes.CDLL(None).syscall(number, 0)
"""
# Many threads end at once.
ALL_THREADS_END = """
import os, threading
[threading.Thread(target=threading.Event().wait).start() for _ in range(8)]
os._exit(5)
"""


@pytest.mark.parametrize("options", [[], ["-x"]])
def test_a_process_ends_with_its_last_thread(options: list[str]) -> None:
    words = [sys.executable, "-S", "-c", FIRST_THREAD_ENDS]
    found = run("exitsnoop", "--json", *options, "--comm", Path(sys.executable).name[:15], "--exec", *words)
    (row,) = [json.loads(line) for line in found.stdout.splitlines()]
    assert (row["exit_code"], row["signal"]) == (3, 0) and row["tid"] == row["pid"], row


def test_threads_that_end_at_once_are_one_process() -> None:
    words = f"{sys.executable} -S -c '{ALL_THREADS_END}'"
    rows = rows_of("exitsnoop", "; ".join([words] * 10) + "; exit 0")
    assert [row["exit_code"] for row in rows] == [5] * 10 + [0] and len({row["pid"] for row in rows}) == 11


def test_every_end_is_there_once() -> None:
    count = 200 if not os.environ.get("PYBPF_VM") else 40
    rows = rows_of("exitsnoop", f"i=0; while [ $i -lt {count} ]; do (exit 5); i=$((i+1)); done; exit 0")
    assert [row["exit_code"] for row in rows] == [5] * count + [0]
    assert len({row["pid"] for row in rows}) == count + 1


# --- killsnoop


def test_signals_that_are_sent() -> None:
    with Caller() as sender, Caller() as receiver:
        tools = [Running("killsnoop", "-p", str(sender.pid), *options) for options in
                 ([], ["-x"], ["-s", "WINCH,23"], ["-T", str(receiver.pid)])]  # fmt: skip
        for tool in tools:
            header = tool.ready("TIME")
        absent = 4194303
        sender.call(f"kill,{receiver.pid},0 kill,{receiver.pid},28 kill,{absent},0 kill,{receiver.pid},28")
        every, failed, chosen, to_one = (tool.stop() for tool in tools)
        comm, pid, target = sender.comm, sender.pid, receiver.pid
    with open("/proc/sys/kernel/pid_max") as file:
        width = len(file.read().strip()) + 1
    assert header == f"{'TIME':<9} {'PID':<{width}} {'COMM':<16} SIG  {'TPID':<{width}} RESULT\n"
    expected = [(0, target, 0), (28, target, 0), (0, absent, -errno.ESRCH), (28, target, 0)]
    assert [row[10:] for row in every] == [
        f"{pid:<{width}} {comm:<16} {number:<4} {to:<{width}} {result}" for number, to, result in expected
    ]
    assert len(failed) == 1 and failed[0].endswith(f" {-errno.ESRCH}")
    assert len(chosen) == 2 and len(to_one) == 3


def test_signals_that_are_none() -> None:
    found = run("killsnoop", "-s", "9,SIGTERMM")
    assert found.returncode == 2 and "did you mean SIGTERM" in found.stderr


# --- capable


@pytest.mark.parametrize("kind", ["fentry", "kprobe", "tracepoint"])
def test_checks_of_capabilities(kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    known = places.lack
    place = next(each for each in find_tool("capable").probes[0].places if each.startswith(kind))  # type: ignore[union-attr]
    if known(place):
        pytest.skip(f"this kernel has no {place}")
    monkeypatch.setattr(places, "lack", lambda each: "" if each == place else "not taken")
    script = "import os\nfor _ in range(30): os.setgroups([])"
    assert find_tool("capable").main(["--json", "--exec", sys.executable, "-S", "-c", script]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    found = [row for row in rows if row["name"] == "CAP_SETGID"]
    assert len(found) == 30 and {row["cap"] for row in found} == {6}
    assert {row["audit"] for row in found} == ({None} if kind == "tracepoint" else {1})
    assert all(row["pid"] == row["tid"] and row["uid"] == 0 for row in found)


def test_columns_of_capable_and_unique() -> None:
    script = "import os\nfor _ in range(30): os.setgroups([])"
    found = run("capable", "-x", "--unique", "-K", "--exec", sys.executable, "-S", "-c", script)
    header, *rows = found.stdout.splitlines()
    assert header == "TIME      UID    PID    TID    COMM             CAP  NAME                 AUDIT  INSETID"
    (row,) = [row for row in rows if "CAP_SETGID" in row]
    pid, tid = row.split()[2:4]
    assert pid == tid and row.split()[5:7] == ["6", "CAP_SETGID"]
    frames = rows[rows.index(row) + 1 :]
    assert frames and re.fullmatch(r" {8}\w[\w.]*\+0x[0-9a-f]+", frames[0])


# --- bashreadline


def test_lines_that_are_typed() -> None:
    if not os.path.exists("/bin/bash"):
        pytest.skip("there is no bash")
    process, terminal = pty.fork()
    if process == 0:
        os.execve("/bin/bash", ["bash", "--norc", "--noprofile"], {"PATH": "/bin:/usr/bin", "PS1": "ready> "})
    try:
        _until(terminal, b"ready> ")
        tool = Running("bashreadline", "-p", str(process))
        assert tool.ready("TIME") == "TIME      PID     COMMAND\n"
        for line in (b"echo one 'two'", b": \xc3\xa9", b""):
            os.write(terminal, line + b"\n")
            _until(terminal, b"ready> ")
        rows = tool.stop()
        os.write(terminal, b"exit\n")
    finally:
        os.kill(process, signal.SIGKILL)  # of SIGHUP it may not die while it reads a line
        os.waitpid(process, 0)
        os.close(terminal)
    assert [row[10:] for row in rows] == [
        f"{process:<7} echo one 'two'", f"{process:<7} : é", f"{process}",
    ]  # fmt: skip


def _until(terminal: int, text: bytes) -> None:
    found = b""
    while text not in found:
        assert select.select([terminal], [], [], 30)[0], found
        found += os.read(terminal, 4096)


def test_a_shell_that_has_no_readline() -> None:
    found = run("bashreadline", "-s", "/bin/true", "-d", "1")
    assert found.returncode == 1 and "has no function readline" in found.stderr
    assert len(found.stderr.splitlines()) == 1
