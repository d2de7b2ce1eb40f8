"""funclatency: exact counts of calls, also of those inside of others; times between what was asked and what it took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs.cases import Running, complaints, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]
#: qsort() whose comparison calls qsort(), so deep as it is told; two elements are compared once
NESTED = r"""
import ctypes, sys, threading
libc = ctypes.CDLL(None)
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
libc.qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, compare]

def sort(depth):
    numbers = (ctypes.c_int * 2)(2, 1)
    libc.qsort(numbers, 2, 4, compare(lambda a, b: (sort(depth - 1) if depth > 1 else 0) or 1))

print("ready", flush=True)
for line in sys.stdin:
    threads = [threading.Thread(target=sort, args=(int(word),)) for word in line.split()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done", flush=True)
"""


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


@pytest.fixture
def sorter() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", NESTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    yield process
    process.communicate()


def sort(process: subprocess.Popen[str], depths: str) -> None:
    assert process.stdin and process.stdout
    process.stdin.write(f"{depths}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def reports(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_calls_inside_of_each_other(sorter: subprocess.Popen[str]) -> None:
    """Of one thread and of several at once; too deep ones are said."""
    pid = str(sorter.pid)
    tools = [
        Running("funclatency", "--json", "-p", pid, "c:qsort"),
        Running("funclatency", "--json", "-p", pid, "-l", "3", "c:qsort"),
    ]
    for tool in tools:
        tool.attached()
    sort(sorter, "1 10 5 2")
    sort(sorter, "7")
    (whole,) = reports(tools[0].stop())
    assert whole["count"] == 25 == whole["histograms"][0]["count"]
    tools[1].process.send_signal(signal.SIGINT)
    out, err = tools[1].process.communicate(timeout=60)
    assert reports(out.splitlines())[0]["count"] == 1 + 3 + 3 + 2 + 3
    assert complaints(err) == ["funclatency: 13 calls were not timed, for they were inside of 3 others; see --level"]


@pytest.mark.native
def test_times_of_functions_that_call_each_other(caller: Caller) -> None:
    pattern = "c:(usleep|clock_nanosleep|getppid)$"
    tool = Running("funclatency", "-F", "-u", "--json", "-r", "-p", str(caller.pid), pattern)
    tool.attached()
    begun = time.monotonic()
    caller.call("usleep,20000*25 getppid*300")
    most = (time.monotonic() - begun) * 1e9
    (whole,) = reports(tool.stop())
    found = {each["function"]: each for each in whole["histograms"]}
    assert {name: each["count"] for name, each in found.items()} == {
        "usleep": 25,
        "clock_nanosleep": 25,
        "getppid": 300,
    }
    assert whole["count"] == 350 and whole["unit"] == "usecs"
    for name in ("usleep", "clock_nanosleep"):
        assert found[name]["buckets"][0]["min"] >= 16384
    assert 2 * 25 * 20_000_000 <= whole["total_ns"] <= 2 * most


@pytest.mark.native
def test_text_as_bcc_prints_it(caller: Caller) -> None:
    tool = Running("funclatency", "-T", "-F", "-m", "-p", str(caller.pid), "c:usleep")
    assert tool.ready("Tracing") == 'Tracing 1 functions for "c:usleep"... Hit Ctrl-C to end.\n'
    caller.call("usleep,20000*10")
    lines = tool.stop()
    assert lines[0] == "" and lines[1].count(":") == 2 and lines[3] == "Function = usleep"
    assert lines[4].split() == ["msecs", ":", "count", "distribution"] and lines[-1] == "Detaching..."
    words = next(line for line in lines if line.startswith("avg = ")).replace(",", "").split()
    assert words[3:5] == ["msecs", "total:"] and words[6:] == ["msecs", "count:", "10"]
    assert int(words[5]) >= 200 and int(words[2]) == int(words[5]) // 10
    assert sum(int(line.split(":")[1].split("|")[0]) for line in lines if "|" in line) == 10


@pytest.mark.native
def test_processes_and_intervals(tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    with Caller() as one, Caller() as other:
        tool = Running("funclatency", "--comm", one.comm, "-i", "0.3", "--json", "--heatmap", str(file),
                       "c:getppid")  # fmt: skip
        tool.attached()
        one.call("getppid*30")
        other.call("getppid*40")
        pids = one.pid, other.pid
        found = reports(tool.until(lambda line: f"[{other.pid}]" in line) + tool.stop())
    counts = dict.fromkeys(pids, 0)
    for each in (histogram for report in found for histogram in report["histograms"]):
        pid = int(each["function"].split("[")[1].rstrip("]"))
        if pid in counts:
            counts[pid] += each["count"]
    assert counts == {pids[0]: 30, pids[1]: 40} and len(found) > 1
    assert f"getppid [{pids[0]}]" in file.read_text()


@pytest.mark.needs("kprobe")
def test_functions_of_the_kernel(caller: Caller) -> None:
    prefix = "__x64_sys_" if os.uname().machine == "x86_64" else "__arm64_sys_"
    tool = Running(
        "funclatency", "-F", "--json", "-r", "-p", str(caller.pid), f"{prefix}(getpgid|getsid|clock_nanosleep)$"
    )
    tool.attached()
    caller.call("getsid,0*70 getpgid,0*41 usleep,10000*5")
    (whole,) = reports(tool.stop())
    found = {each["function"].removeprefix(prefix): each for each in whole["histograms"]}
    assert {name: each["count"] for name, each in found.items()} == {"getsid": 70, "getpgid": 41, "clock_nanosleep": 5}
    assert found["clock_nanosleep"]["buckets"][0]["min"] >= 8_000_000 and whole["total_ns"] >= 50_000_000


@pytest.mark.native
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["t:syscalls:sys_enter_getppid"], 1, "events take no time"),
        (["c:getppidd"], 1, "did you mean"),
        (["-u", "-m", "c:getppid"], 2, "exclude each other"),
        (["-l", "257", "c:getppid"], 2, "at most 256"),
        ([], 2, "PATTERN"),
    ],
)
def test_wrong_options_are_explained(arguments: list[str], code: int, says: str) -> None:
    found = run("funclatency", *arguments)
    assert found.returncode == code and says in found.stderr and "Traceback" not in found.stderr
