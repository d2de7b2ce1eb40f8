"""stackcount: exact counts of the stacks that lead to functions which a process calls on command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from pybpf import BpfError
from pybpf.symbols import find_binary
from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]
NOW = "_ZNSt6chrono3_V212steady_clock3nowEv"
CALLS = "getpgid,0*41 getppid*700"


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


class Block(NamedTuple):
    """A stack that was printed."""

    frames: list[str]
    process: str
    count: int


def blocks(lines: Sequence[str]) -> list[Block]:
    """The stacks of a report, which is all between the first line and the last."""
    found, block = [], list[str]()
    assert lines[-1] == "Detaching..."
    for line in lines[:-1]:
        if line:
            block.append(line)
        elif block:
            process = block.pop(-2).strip() if block[-2].endswith("]") and "[" in block[-2][3:] else ""
            assert all(each.startswith("  ") for each in block) and block[-1].startswith("    ")
            found.append(Block([each.strip() for each in block[:-1]], process, int(block[-1])))
            block = []
    assert [each.count for each in found] == sorted(each.count for each in found)
    return found


def sums(found: Sequence[Block], *names: str) -> dict[str, int]:
    """Function -> the counts of all stacks that have it."""
    return {name: sum(each.count for each in found if any(name in frame for frame in each.frames)) for name in names}


def stacks_of(caller: Caller, *options: str, calls: str = CALLS) -> list[Block]:
    tool = Running("stackcount", "-p", str(caller.pid), *options)
    tool.ready("Tracing ")
    caller.call(calls)
    return blocks(tool.stop())


@pytest.mark.native
def test_functions_of_libraries(caller: Caller) -> None:
    tool = Running("stackcount", "-p", str(caller.pid), "-r", "c:get(ppid|pgid)$")
    assert tool.ready("Tracing") == 'Tracing 2 functions for "c:get(ppid|pgid)$"... Hit Ctrl-C to end.\n'
    caller.call(CALLS)
    found = blocks(tool.stop())
    assert sums(found, "getpgid", "getppid") == {"getpgid": 41, "getppid": 700}
    assert all(each.frames[0] in ("getpgid", "getppid") and not each.process for each in found)


def test_tracepoints_with_stacks_of_kernel_and_process(caller: Caller) -> None:
    """Signals that the process ignores; older kernels have no stack of their own at system calls."""
    found = stacks_of(caller, "-d", "-v", "-s", "t:signal:signal_generate", calls=f"kill,{caller.pid},28*41")
    assert sums(found, "kill+0x") == {"kill+0x": 41}
    for each in found:
        kernel, user = each.frames[: each.frames.index("--")], each.frames[each.frames.index("--") + 1 :]
        assert any("sys_kill+0x" in frame for frame in kernel) and " kill+0x" in user[0]
        assert all(int(frame.split()[0], 16) for frame in kernel + user)
        assert not any("bpf" in frame for frame in kernel)


@pytest.mark.native
def test_only_one_kind_of_stacks(caller: Caller) -> None:
    event = "t:syscalls:sys_enter_getppid"
    kernel = stacks_of(caller, "-K", event)
    assert sum(each.count for each in kernel) == 700 and not any(each.frames[-1] == "getppid" for each in kernel)
    assert not sums(kernel, "getppid")["getppid"]
    user = stacks_of(caller, "-U", event)
    assert {each.frames[0] for each in user} == {"getppid"} and sum(each.count for each in user) == 700


@pytest.mark.native
def test_folded_and_json(caller: Caller) -> None:
    event, options = "t:syscalls:sys_enter_getppid", ["-p", str(caller.pid)]
    tools = [
        Running("stackcount", *options, "-f", "-d", event),
        Running("stackcount", *options, "--json", "-K", event),
    ]
    for tool in tools:
        tool.attached()
    caller.call(CALLS)
    folded, objects = (tool.stop() for tool in tools)
    assert sum(int(line.rpartition(" ")[2]) for line in folded) == 700
    for line in folded:
        frames = line.rpartition(" ")[0].split(";")
        assert frames[0] == caller.comm and frames[frames.index("-") - 1] == "getppid"
    (report,) = map(json.loads, objects)
    assert sum(each["count"] for each in report["stacks"]) == 700
    assert all(set(each) == {"kernel", "count"} and each["kernel"] for each in report["stacks"])


@pytest.mark.native
def test_processes_by_themselves() -> None:
    with Caller() as one, Caller() as other:
        tool = Running("stackcount", "--comm", one.comm, "c:getppid")
        tool.ready("Tracing")
        one.call("getppid*30")
        other.call("getppid*40")
        pids = (one.pid, other.pid)
        found = blocks(tool.stop())
    counts = {pid: sum(each.count for each in found if each.process == f"{one.comm} [{pid}]") for pid in pids}
    assert counts == {pids[0]: 30, pids[1]: 40}


@pytest.mark.native
def test_intervals_and_the_time(caller: Caller) -> None:
    tool = Running("stackcount", "-T", "-i", "0.3", "-D", "600", "-p", str(caller.pid), "c:getppid")
    tool.ready("Tracing")
    caller.call("getppid*100")
    lines = tool.until(lambda line: line.strip().isdecimal()) + tool.stop()
    assert sum(line.count(":") == 2 for line in lines) >= 2
    assert sum(int(line) for line in lines if line.strip().isdecimal()) == 100


@pytest.mark.native
def test_stacks_that_find_no_room_are_said(caller: Caller) -> None:
    """One place for all of them: whichever comes second finds it taken."""
    tool = Running("stackcount", "--stack-storage-size", "1", "-p", str(caller.pid), "-f", "t:syscalls:sys_enter_getp*")
    tool.attached()
    caller.call(CALLS)
    tool.process.send_signal(2)
    out, err = tool.process.communicate(timeout=60)
    assert tool.process.returncode == 0 and "stacks could not be kept" in err
    assert sum(int(line.rpartition(" ")[2]) for line in out.splitlines()) == 741
    assert "[Missed User Stack]" in out or "[Missed Kernel Stack]" in out


@pytest.mark.native
def test_names_of_cplusplus() -> None:
    try:
        library = find_binary("libstdc++.so.6").path
    except BpfError:
        pytest.skip("there is no C++ library")
    with Caller(env={**os.environ, "LD_PRELOAD": library}) as caller:
        found = stacks_of(caller, f"{library}:{NOW}", calls=f"{NOW}*23")
    assert sums(found, "std::chrono::_V2::steady_clock::now()") == {"std::chrono::_V2::steady_clock::now()": 23}


@pytest.mark.needs("kprobe")
def test_functions_of_the_kernel(caller: Caller) -> None:
    prefix = "__x64_sys_" if os.uname().machine == "x86_64" else "__arm64_sys_"
    found = stacks_of(caller, "-K", "-r", f"{prefix}get(pgid|sid)$", calls="getsid,0*70 getpgid,0*41")
    counts = {each.frames[0]: each.count for each in found}
    assert counts == {f"{prefix}getsid": 70, f"{prefix}getpgid": 41}


@pytest.mark.native
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["c:getppidd"], 1, "did you mean"),
        (["-K", "-U", "c:getppid"], 2, "exclude each other"),
        (["--stack-storage-size", "0", "c:getppid"], 2, "no whole number from 1"),
        ([], 2, "PATTERN"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], code: int, says: str) -> None:
    found = run("stackcount", *arguments)
    assert found.returncode == code and says in found.stderr and "Traceback" not in found.stderr
