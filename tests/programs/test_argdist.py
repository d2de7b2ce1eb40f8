"""argdist: exact counts and histograms of arguments and results of functions that a process calls on command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.cases import Running, run
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]
CALLS = "getpgid,0*20 getpgid,-5*7 getpgid,9000000*3 atoi,'a*2 atoi,'bb*5 abs,3*4 abs,100"


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


def report(caller: Caller, *arguments: str, calls: str = CALLS) -> list[str]:
    """The lines of the one report of some calls."""
    tool = Running("argdist", "-i", "1000", "-p", str(caller.pid), *arguments)
    tool.attached()
    caller.call(calls)
    lines = tool.stop()
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\]", lines[0])
    return lines[1:]


@pytest.mark.parametrize(
    ("specifier", "rows"),
    [
        ("p:c:getpgid(int pid):int:pid", ["3          pid = 9000000", "7          pid = -5", "20         pid = 0"]),
        ("p:c:getpgid(int pid):int:pid:pid <= 0", ["7          pid = -5", "20         pid = 0"]),
        ("p:c:getpgid()", ["30         total calls"]),
        ("r:c:getpgid(int pid):int:$entry(pid):$retval < 0", ["3          pid = 9000000",
                                                              "7          pid = -5"]),
        ("r:c:abs()", ["1          retval = 100", "4          retval = 3"]),
        ("p:c:atoi(const char *s):char*:s", ["2          s = a", "5          s = bb"]),
        ("p:c:atoi(const char *s):char*,int:s,(s[0] == 'a' ? 1 : 2)",
         ["2          s = a, (s[0] == 'a' ? 1 : 2) = 1", "5          s = bb, (s[0] == 'a' ? 1 : 2) = 2"]),
        ("t:syscalls:sys_enter_getpgid():int:args->pid:args->pid != 0",
         ["3          args->pid = 9000000", "7          args->pid = -5"]),
        ("r:c:atoi(const char *s):char*:$entry(s):STRCMP(\"bb\", $entry(s))", ["5          s = bb"]),
    ],
)  # fmt: skip
def test_counts_are_exact(caller: Caller, specifier: str, rows: list[str]) -> None:
    title, header, *found = report(caller, "-C", specifier)
    assert title == specifier and header == "\tCOUNT      EVENT"
    assert found == [f"\t{row}" for row in rows]


def test_labels_tops_and_names(caller: Caller) -> None:
    lines = report(caller, "-T", "1", "-C", "p:c:getpgid(int pid):int:pid#wanted ids")
    assert lines == ["wanted ids", "\tCOUNT      EVENT", "\t20         pid = 0"]
    lines = report(caller, "-C", "p:c:abs(int x):char*,u32:$COMM,$PID")
    assert lines[2:] == [f"\t5          $COMM = {caller.comm}, $PID = {caller.pid}"]
    lines = report(caller, "-z", "2", "-C", "p:c:atoi(char *s):char*:s")
    assert lines[2:] == ["\t2          s = a", "\t5          s = b"]


def test_histograms(caller: Caller, tmp_path: Path) -> None:
    lines = report(caller, "-H", "p:c:abs(int x):int:x", "--heatmap", str(tmp_path / "map.html"))
    page = (tmp_path / "map.html").read_text()
    assert re.findall(r'data-text="[^"]*, ([^,"]*): (\d+) of 5 ', page) == [("2 to 4", "4"), ("64 to 128", "1")]
    assert lines[0] == f"     {'x':<19} : count     distribution"
    counts = [int(line.split(":")[1].split("|")[0]) for line in lines[1:]]
    assert counts == [0, 4, 0, 0, 0, 0, 1]
    lines = report(caller, "-H", "r:c:getpgid(int pid):u64:$latency:$entry(pid) == 0#ns")
    assert lines[0].split() == ["ns", ":", "count", "distribution"]
    assert sum(int(line.split(":")[1].split("|")[0]) for line in lines[1:]) == 20


# Sorts inside of the comparison of another sort, six deep: 12 elements outside, 7 inside.
NESTED = """
import ctypes
lib, number = ctypes.CDLL(None), 0
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def compare(a, b):
    global number
    number += 1
    if number < 6:
        sort(12 - number)
    return 0
def sort(n):
    lib.qsort((ctypes.c_char * n)(), ctypes.c_size_t(n), ctypes.c_size_t(1), compare)
input()
sort(12)
sort(3)
"""


def test_functions_inside_of_themselves() -> None:
    with subprocess.Popen([sys.executable, "-c", NESTED], stdin=subprocess.PIPE, text=True) as work:
        specifier = "r:c:qsort(void *base, size_t n):size_t:$entry(n)"
        tool = Running("argdist", "--json", "-p", str(work.pid), "-i", "1000", "-C", specifier)
        tool.attached()
        work.communicate("\n")
        rows = json.loads(tool.wait()[-1])["probes"][0]["counts"]
    assert {next(iter(row["values"].values())): row["count"] for row in rows} == dict.fromkeys([3, *range(7, 13)], 1)


def test_several_at_a_time_as_json(caller: Caller) -> None:
    tool = Running("argdist", "--json", "-i", "0.5", "-p", str(caller.pid),
                   "-C", "p:c:atoi(char *s):char*:s", "-H", "p:c:abs(int x):int:x")  # fmt: skip
    assert tool.process.stdout
    tool.process.stdout.readline()
    caller.call(CALLS)
    counts: dict[str, int] = {}
    histogram = 0
    for line in tool.stop():
        for probe in json.loads(line)["probes"]:
            for row in probe.get("counts", ()):
                counts[row["values"]["s"]] = counts.get(row["values"]["s"], 0) + row["count"]
            histogram += probe.get("histogram", {}).get("count", 0)
    assert counts == {"a": 2, "bb": 5} and histogram == 5


def test_intervals_and_their_number(caller: Caller) -> None:
    for cumulative in (False, True):
        options = ["-c"] if cumulative else []
        tool = Running("argdist", *options, "-i", "0.3", "-p", str(caller.pid), "-C", "p:c:abs(int x):int:x")
        tool.ready("[")
        caller.call("abs,3")
        tool.ready("\t1 ")
        tool.ready("[")
        lines = tool.until(lambda line: line.startswith("[")) + tool.stop()
        assert any(line.startswith("\t1 ") for line in lines) == cumulative
    limited = Running("argdist", "-i", "0.1", "-n", "3", "-p", str(caller.pid), "-C", "p:c:abs(int x):int:x")
    assert sum(line.startswith("[") for line in limited.wait()) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "give -C or -H"),
        (["-C", "p:c:abs"], 1, "a signature in parentheses is expected"),
        (["-C", "c:abs()"], 1, "write p:, r:, t: or u: first"),
        (["-C", "p:c:abs(int x):int"], 1, "is :type:expression"),
        (["-C", "p:c:abs(int x):int,int:x"], 1, "2 types, and 1 expressions"),
        (["-c", "--heatmap", "x", "-H", "p:c:abs(int x):int:x"], 2, "does not go with --cumulative"),
        (["-H", "p:c:abs(int x)"], 1, "a histogram takes one expression"),
        (["-H", "p:c:atoi(char *s):char*:s"], 1, "a histogram takes a number"),
        (["-C", "r:c:abs(int x):int:$entry(y)"], 1, "$entry takes a parameter"),
        (["-C", "r:c:abs(int x):int:x"], 1, "in argdist $entry(x)"),
        (["-C", "p:c:abs(int x):nosuchtype t:x"], 1, "is no type"),
    ],
)
def test_wrong_specifiers_are_explained(arguments: list[str], code: int, says: str) -> None:
    found = run("argdist", *arguments)
    assert found.returncode == code and says in found.stderr and "Traceback" not in found.stderr
