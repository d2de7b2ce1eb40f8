"""biosnoop: a row for each request that is made to a loop device of the test's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from programs.biosnoop import DONE
from pybpf.sys import features
from pybpf.tool import places
from tests.programs.cases import Running, run, while_it_runs
from tests.programs.disks import BLOCK, Disk

pytestmark = [pytest.mark.root, pytest.mark.generic]

HEADER = "TIME(s)     COMM           PID     DISK      T SECTOR     BYTES   P QUE(ms) LAT(ms)"


def test_a_row_for_each_request(disk: Disk) -> None:
    tool = Running("biosnoop", "-d", disk.name, "-P", "-Q")
    header = tool.ready("TIME(s)").rstrip("\n")
    disk.read(3)
    disk.write(2)
    rows = [line.split() for line in tool.stop()]
    comm = Path("/proc/self/comm").read_text().strip()[:14]
    assert header == HEADER and len(rows) == 5
    sectors = BLOCK // 512
    assert [row[1:8] for row in rows] == [
        [comm, str(os.getpid()), disk.name, operation, str(number * sectors), str(BLOCK), pattern]
        for operation, number, pattern in (("R", 0, "?"), ("R", 1, "S"), ("R", 2, "S"), ("W", 0, "R"), ("W", 1, "S"))
    ]
    times = [float(row[0]) for row in rows]
    assert times[0] == 0 and times == sorted(times)
    assert all(float(row[8]) >= 0 and float(row[9]) > 0 for row in rows)


def test_as_json_and_of_one_process(disk: Disk) -> None:
    tool = Running("biosnoop", "-p", str(os.getpid()), "-d", disk.name, "--json")
    other = Running("biosnoop", "-p", str(tool.process.pid), "-d", disk.name)
    tool.attached()
    other.ready("TIME(s)")
    disk.read(4)
    assert other.stop() == []
    rows = [json.loads(line) for line in tool.stop()]
    assert [(row["sector"], row["bytes"], row["operation"], row["pid"]) for row in rows] == [
        (number * BLOCK // 512, BLOCK, "R", os.getpid()) for number in range(4)
    ]
    assert all(0 < row["latency_ns"] < 60e9 and 0 <= row["queued_ns"] < 60e9 for row in rows)
    assert {row["disk"] for row in rows} == {disk.name}


@pytest.mark.parametrize("kind", ["tp_btf", "tracepoint"])
def test_where_the_kernel_shows_only_what_waits(
    disk: Disk, kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before Linux 6.5: who makes a request that goes to the device at once is who runs then."""
    known = places.lack
    if not features.has(kind):
        pytest.skip(f"the kernel has no {kind}")
    here = (f"{kind}:block_rq", f"{kind}:block:block_rq")
    monkeypatch.setattr(places, "lack", lambda place: known(place) if place.startswith(here) else "not taken")
    options = ["--json", "-d", disk.name, "-p", str(os.getpid())]
    assert while_it_runs("biosnoop", lambda: disk.read(3), options) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(row["operation"], row["pid"]) for row in rows] == [("R", os.getpid())] * 3
    assert while_it_runs("biolatency", lambda: disk.read(7), ["-j", "-Q", "-d", disk.name]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line)["count"] == 7


@pytest.mark.parametrize("kind", ["tracepoint", "kprobe"])
def test_by_other_probes(
    disk: Disk, kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    known = places.lack
    if not features.has(kind):
        pytest.skip(f"the kernel has no {kind}")
    monkeypatch.setattr(places, "lack", lambda place: known(place) if place.startswith(kind) else "not taken")
    if DONE.find() is None:
        pytest.skip(f"the kernel has none of the functions at which a {kind} sees requests end")

    def work() -> None:
        disk.read(2)
        disk.write(1)

    assert while_it_runs("biosnoop", work, ["--json", "-d", disk.name]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["operation"] for row in rows] == ["R", "R", "W"]
    assert {(row["bytes"], row["latency_ns"] > 0) for row in rows} == {(BLOCK, True)}


def test_a_disk_that_is_not_there() -> None:
    found = run("biosnoop", "-d", "nosuchdisk")
    assert found.returncode == 1 and "there is no disk 'nosuchdisk'" in found.stderr
