"""funccount: exact counts of functions that a process calls on command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

import pytest

from pybpf.sys import features
from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


def counts(lines: Sequence[str]) -> dict[str, int]:
    """FUNC -> COUNT, of the last report."""
    last = max(i for i, line in enumerate(lines) if line.startswith("FUNC"))
    assert lines[last] == f"{'FUNC':<36} {'COUNT':>8}" and lines[last - 1] == ""
    rows = [line.split() for line in lines[last + 1 :] if line != "Detaching..."]
    found = {name: int(count) for name, count in rows}
    assert list(found.values()) == sorted(found.values()) and 0 not in found.values()
    return found


@pytest.mark.parametrize(
    ("pattern", "number", "expected"),
    [
        (["c:getp[gp]*id"], 2, {"getppid": 700, "getpgid": 41}),
        (["p:c:getppid"], 1, {"getppid": 700}),
        (["-r", "c:get(ppid|pgid|sid)$"], 3, {"getppid": 700, "getpgid": 41, "getsid": 5}),
        (["t:syscalls:sys_enter_getp*id"], 3, {"syscalls:sys_enter_getppid": 700, "syscalls:sys_enter_getpgid": 41}),
        (["t:syscalls:sys_exit_getsid"], 1, {"syscalls:sys_exit_getsid": 5}),
    ],
)
def test_counts_are_exact(caller: Caller, pattern: list[str], number: int, expected: dict[str, int]) -> None:
    tool = Running("funccount", "-p", str(caller.pid), *pattern)
    assert tool.ready("Tracing") == f'Tracing {number} functions for "{pattern[-1]}"... Hit Ctrl-C to end.\n'
    caller.call("getppid*700 getpgid,0*41 getsid,0*5")
    lines = tool.stop()
    assert counts(lines) == expected and lines[-1] == "Detaching..."


@pytest.mark.needs("kprobe")
def test_functions_of_the_kernel(caller: Caller) -> None:
    prefix = "__x64_sys_" if os.uname().machine == "x86_64" else "__arm64_sys_"
    # not getppid: calls without arguments have several names, of which the kernel tells one
    tool = Running("funccount", "-r", "-p", str(caller.pid), f"{prefix}get(pgid|sid)$")
    tool.ready("Tracing 2 ")
    caller.call("getsid,0*70 getpgid,0*41")
    assert counts(tool.stop()) == {f"{prefix}getsid": 70, f"{prefix}getpgid": 41}


def test_without_kprobes_it_says_so() -> None:
    if features.has("kprobe"):
        pytest.skip("the kernel has kprobes")
    found = run("funccount", "vfs_*")
    assert found.returncode == 1 and "no kprobes" in found.stderr and len(found.stderr.splitlines()) == 1


def test_usdt_probes() -> None:
    """Of an interpreter that has them, if there is one."""
    python = "/usr/bin/python3"
    found = run("funccount", "-d", "0.1", f"u:{python}:gc__*", "-p", str(os.getpid()))
    if "no functions matched" in found.stderr or "there is no" in found.stderr or "has no" in found.stderr:
        pytest.skip("no interpreter with probes")
    script = "import gc; gc.disable(); [gc.collect() for _ in range(30)]"
    found = run("funccount", f"u:{python}:gc__*", "--exec", python, "-S", "-c", script)
    assert found.returncode == 0, found.stderr
    result = counts(found.stdout.splitlines())
    assert result["python:gc__start"] >= 30 and result["python:gc__start"] == result["python:gc__done"]


def test_by_process() -> None:
    with Caller() as one, Caller() as other:
        tool = Running("funccount", "-P", "--comm", one.comm, "c:getp*id")
        tool.ready("Tracing")
        one.call("getppid*30 getpgid,0*2")
        other.call("getppid*40")
        lines = tool.stop()
        pids = (one.pid, other.pid)
    assert lines[1].split() == ["PID", "COMM", "FUNC", "COUNT"]
    rows = [line.split() for line in lines[2:-1]]
    found = {(int(pid), name): int(count) for pid, _, name, count in rows if int(pid) in pids}
    assert found == {(pids[0], "getppid"): 30, (pids[0], "getpgid"): 2, (pids[1], "getppid"): 40}


def test_intervals_and_the_duration_before_the_pattern(caller: Caller) -> None:
    tool = Running("funccount", "-T", "-i", "1", "3", "c:getppid", "-p", str(caller.pid))
    tool.ready("Tracing")
    caller.call("getppid*100")
    lines = tool.wait()
    reports = sum(line.startswith("FUNC ") for line in lines)
    assert 2 <= reports <= 3 and lines[-1] == "Detaching..."  # one that comes too late is left out
    assert sum(int(line.split()[1]) for line in lines if line.startswith("getppid")) == 100
    assert sum(line.count(":") == 2 for line in lines) == reports


def test_json_and_cpu(caller: Caller) -> None:
    os.sched_setaffinity(caller.pid, {0})
    tools = [Running("funccount", "--json", "-i", "0.5", "-c", str(cpu), "c:getppid", "-p", str(caller.pid))
             for cpu in (0, 1)]  # fmt: skip
    for tool in tools:
        assert tool.process.stdout
        json.loads(tool.process.stdout.readline())
    caller.call("getppid*55")
    found = [[row for line in tool.stop() for row in json.loads(line)["counts"]] for tool in tools]
    assert found == [[{"function": "getppid", "count": 55}], []]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["c:getppidd"], 1, "no functions matched by pattern 'c:getppidd'; did you mean"),
        (["-r", "c:("], 1, "is no regular expression"),
        (["c:"], 1, "names no functions"),
        (["u::x"], 1, "names no functions"),
        (["x", "c:getppid"], 2, "x"),
        (["1", "2", "c:getppid"], 2, "one pattern"),
        (["-d", "2", "1", "c:getppid"], 2, "two durations"),
        (["nosuchlibrary:f"], 1, "nosuchlibrary"),
        ([], 2, "PATTERN"),
    ],
)
def test_wrong_patterns_are_explained(arguments: list[str], code: int, says: str) -> None:
    found = run("funccount", *arguments)
    assert found.returncode == code and says in found.stderr and "Traceback" not in found.stderr
    assert code == 2 or len(found.stderr.splitlines()) == 1
