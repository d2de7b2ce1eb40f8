"""mallocstacks and mallocsize: each allocation of a process, its size, and who made it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.programs.allocations import Worker
from tests.programs.cases import Running, run

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe"), pytest.mark.native]


def test_stacks_of_large_allocations(program: Path, tmp_path: Path) -> None:
    picture = tmp_path / "out.json"
    words = ["70002", "--json", "--speedscope", str(picture), "-c", str(program)]
    tool = Running("mallocstacks", *words, stdin=subprocess.PIPE)
    objects: list[dict[str, Any]] = [json.loads(tool.ready("{"))]
    while objects[-1]["bytes"] != 70004:
        objects.append(json.loads(tool.ready("{")))
    assert tool.process.stdin
    tool.process.stdin.close()
    tool.wait()
    assert [each["bytes"] for each in objects] == [70002, 70003, 70004]
    assert len({each["address"] for each in objects}) == 3 and {each["comm"] for each in objects} == {"leaky"}
    for each in objects:
        assert [frame.partition("+")[0] for frame in each["stack"][:3]] == ["leaf", "thrice", "main"]
    profile = json.loads(picture.read_text())
    assert profile["profiles"][0]["weights"] == [70002 + 70003 + 70004]
    assert [frame["name"] for frame in profile["shared"]["frames"]][-3:] == ["main", "thrice", "leaf"]


def test_rows_of_mallocstacks() -> None:
    with Worker(70000) as worker:
        tool = Running("mallocstacks", "-p", worker.pid, "3000000")
        head = tool.ready("Tracing")
        tool.attached()
        worker.do("[call('malloc', N(70001 + i * 3000000)) for i in range(3)]")
        out = tool.stop()
    assert head == "Tracing allocations of at least 3000000 bytes... Hit Ctrl-C to end.\n"
    sizes = [line for line in out if line.startswith("  Alloc")]
    assert sizes == [f"  Allocated {n} bytes" for n in (3070001, 6070001)]
    heads = [line for line in out if re.fullmatch(rf"\S+ \(pid={worker.pid}, tid={worker.pid}\)", line)]
    assert len(heads) == 2 and out.count("  Stack trace:") == 2 and out[0] == ""


def test_sizes_and_callers(program: Path) -> None:
    tool = Running("mallocsize", "-z", "70001", "--json", "-c", str(program), "0.2", stdin=subprocess.PIPE)
    tool.attached()
    report = json.loads(tool.ready("{"))
    assert tool.process.stdin
    tool.process.stdin.close()
    assert tool.wait() == []  # nothing more was allocated
    assert (report["comm"], report["count"], report["bytes"]) == ("leaky", 4, 70001 + 70002 + 70003 + 70004)
    assert report["callers"] == [{"function": "leaf [leaky]", "count": 4, "bytes": report["bytes"]}]
    assert report["sizes"]["buckets"] == [{"min": 65536, "max": 131071, "count": 4}]


def test_intervals_of_mallocsize(tmp_path: Path) -> None:
    picture = tmp_path / "map.html"
    with Worker(70000) as worker:
        tool = Running("mallocsize", "-p", worker.pid, "-z", "70000", "-T", "1", "--heatmap", str(picture), "0.5")
        tool.attached()
        worker.do("[free(call('malloc', N(70001)), 0) for i in range(7)]")
        out = [line.rstrip("\n") for line in tool.until(lambda line: line.startswith("pid = "))] + tool.stop()
        limited = Running("mallocsize", "-p", worker.pid, "0.1", "2").wait()
    assert sum(line.startswith("[") for line in out) >= 2 and sum(line.startswith("[") for line in limited) == 2
    rows = [re.fullmatch(rf"pid = {worker.pid} \S+, (\d) allocations?, (\d+) bytes", line) for line in out
            if line.startswith("pid = ")]  # fmt: skip
    # an interval may end between two of them
    assert [sum(int(row[field]) for row in rows if row) for field in (1, 2)] == [7, 490007]
    assert "       BYTES    COUNT      AVG CALLER" in out
    callers = [line.split() for line in out if line.split()[2:3] == ["70001"]]
    assert [sum(int(words[field]) for words in callers) for field in (1, 0)] == [7, 490007]
    cells = re.findall(r'data-text="[^"]*, (.*?): (\d+) of ', picture.read_text())
    assert {size for size, _ in cells} == {"65,536 to 131,072 bytes"} and sum(int(n) for _, n in cells) == 7


@pytest.mark.pure
def test_wrong_options() -> None:
    found = run("mallocstacks", "much")
    assert found.returncode == 2 and "invalid size value: 'much'" in found.stderr
