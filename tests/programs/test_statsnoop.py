"""statsnoop: every stat of a process with known ones, by each call and option."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]


def test_long_paths_are_whole() -> None:
    paths = [f"/nonexistent/{'/b' * (length // 2)}/end" for length in (200, 249, 400, 2000)]
    with Caller() as caller:
        tool = Running("statsnoop", "--json", "-p", str(caller.pid), "--path", "/nonexistent/*/end")
        tool.attached()
        caller.call(" ".join(f"statfs,'{path},0" for path in paths))
        assert sorted((json.loads(line)["path"] for line in tool.stop()), key=len) == paths


def test_columns_are_those_of_bcc(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with Caller() as caller:
        tool = Running("statsnoop", "-s", "-p", str(caller.pid), "--path", f"{tmp_path}/*")
        assert tool.ready("PID") == "PID     COMM               FD ERR SYSCALL      PATH\n"
        caller.call(f"statfs,'{tmp_path}/file,0 statfs,'{tmp_path}/absent,0")
        rows = tool.stop()
        pid, comm = caller.pid, caller.comm
    assert rows == [
        f"{pid:<7} {comm:<16} {-1:4d} {errno.EFAULT:3d} {'statfs':<12} {tmp_path}/file",
        f"{pid:<7} {comm:<16} {-1:4d} {errno.ENOENT:3d} {'statfs':<12} {tmp_path}/absent",
    ]


def test_every_call_is_there_once(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    count = 500 if not os.environ.get("PYBPF_VM") else 60
    script = (
        f"import os\nfor _ in range({count}):\n os.stat('{tmp_path}/here'); os.statvfs('{tmp_path}/here')\n"
        f" os.path.lexists('{tmp_path}/absent')"
    )
    found = run("statsnoop", "--json", "--path", f"{tmp_path}/*", "--exec", sys.executable, "-S", "-c", script)
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(rows) == 3 * count and not found.stderr
    assert sum(row["syscall"] == "statfs" for row in rows) == count
    assert sum(row["errno"] == errno.ENOENT for row in rows) == count
    assert {row["path"] for row in rows} == {f"{tmp_path}/here", f"{tmp_path}/absent"}
    failed = run("statsnoop", "-x", "--json", "--path", f"{tmp_path}/*", "--exec", sys.executable, "-S", "-c", script)
    assert len(failed.stdout.splitlines()) == count


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86_64 has these calls")
def test_calls_whose_functions_have_other_names() -> None:
    """stat(2) is the kernel's newstat, lstat(2) newlstat."""
    with Caller() as caller:
        tool = Running("statsnoop", "-s", "-t", "-p", str(caller.pid))
        tool.ready("TIME(s)")
        caller.call("syscall,4,'/nonexistent/a,0 syscall,6,'/nonexistent/b,0")
        rows = [line.split()[-2:] for line in tool.stop()]
    assert rows == [["stat", "/nonexistent/a"], ["lstat", "/nonexistent/b"]]


def test_with_two_capabilities() -> None:
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+bpf,+perfmon"]
    with Caller() as caller:
        words = [*drop, sys.executable, "-m", "pybpf", "statsnoop", "-p", str(caller.pid)]
        tool = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert tool.stdout and tool.stdout.readline().startswith("PID")
        caller.call("statfs,'/nonexistent/c,0")
        tool.send_signal(signal.SIGINT)
        out, err = tool.communicate(timeout=60)
    assert [line.split()[-1] for line in out.splitlines()] == ["/nonexistent/c"] and not err
