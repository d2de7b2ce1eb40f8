"""biolatency: a known number of requests to a loop device of the test's own, by every option and probe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from programs.biolatency import DONE
from pybpf.sys import features
from pybpf.tool import places
from tests.programs.cases import Running, run, while_it_runs
from tests.programs.disks import Disk

pytestmark = [pytest.mark.root, pytest.mark.generic]

READY = "Tracing block device I/O... Hit Ctrl-C to end."
ROW = re.compile(r" +(\d+) -> (\d+) +: (\d+) +\|(.{40})\|")


def counts(lines: list[str]) -> list[int]:
    """The counts of all rows; each is checked to be a power of two, with a bar."""
    found = []
    for line in lines:
        match = ROW.fullmatch(line)
        if match:
            low, high, count = map(int, match.groups()[:3])
            assert (low, high) == (0, 1) or (low & (low - 1) == 0 and high == 2 * low - 1)
            assert set(match[4]) <= {"*", " "}
            found.append(count)
    return found


@pytest.mark.parametrize("options", [[], ["-m"], ["-Q"], ["-T"]])
def test_every_request_is_counted(disk: Disk, options: list[str]) -> None:
    tool = Running("biolatency", "-d", disk.name, *options)
    tool.ready(READY)
    disk.read(200)
    lines = tool.stop()
    header = lines[1:] if "-T" not in options else lines[3:]
    assert header[0] == f"     {'msecs' if '-m' in options else 'usecs':<19} : count     distribution"
    assert sum(counts(lines)) == 200 and lines[0] == ""


def test_disks_average_and_flags(disk: Disk) -> None:
    by_disk = Running("biolatency", "-D", "-e", "-d", disk.name)
    by_flags = Running("biolatency", "-F", "-d", disk.name)
    for tool in (by_disk, by_flags):
        tool.ready(READY)
    disk.read(50)
    disk.write(30)
    lines = by_disk.stop()
    assert lines[:3] == ["", "", f"disk = {disk.name}"] and sum(counts(lines)) == 80
    average, total, count = map(int, re.findall(r"\d+", next(line for line in lines if line.startswith("avg = "))))
    assert count == 80 and average == total // 80 > 0
    lines = by_flags.stop()
    sections = "\n".join(lines).split("\nflags = ")[1:]
    found = {text.split("\n")[0]: sum(counts(text.split("\n"))) for text in sections}
    assert sum(n for name, n in found.items() if name.endswith("Read")) == 50
    assert sum(n for name, n in found.items() if name.endswith("Write")) == 30 and sum(found.values()) == 80
    assert all("Sync" in name for name in found)


def test_intervals_as_json(disk: Disk) -> None:
    tool = Running("biolatency", "-j", "-D", "-d", disk.name, "0.4")
    first = tool.ready("{")
    disk.read(70)
    rows = list(map(json.loads, [first, tool.ready("{"), *tool.stop()]))
    assert len(rows) >= 3 and {row["unit"] for row in rows} == {"usecs"}
    assert len(Running("biolatency", "-j", "-d", disk.name, "0.1", "2").wait()) == 2
    histograms = [each for row in rows for each in row["histograms"]]
    assert sum(each["count"] for each in histograms) == sum(row["count"] for row in rows) == 70
    assert {each["disk"] for each in histograms} == {disk.name} and sum(row["total_ns"] for row in rows) > 0


@pytest.mark.parametrize("kind", ["tp_btf", "tracepoint", "kprobe"])
@pytest.mark.parametrize("options", [[], ["-Q"]])
def test_by_each_kind_of_probe(
    disk: Disk, kind: str, options: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not features.has(kind):
        pytest.skip(f"the kernel has no {kind}")
    known = places.lack
    monkeypatch.setattr(places, "lack", lambda place: known(place) if place.startswith(kind) else "not taken")
    if DONE.find() is None:
        pytest.skip(f"the kernel has none of the functions at which a {kind} sees requests end")
    arguments = ["-j", "-D", "-d", disk.name, *options]
    seen = while_it_runs("biolatency", lambda: disk.read(60), arguments)
    (line,) = capfd.readouterr().out.splitlines()
    assert seen == 0 and json.loads(line)["count"] == 60
    assert [each["disk"] for each in json.loads(line)["histograms"]] == [disk.name]


def test_a_heat_map(disk: Disk, tmp_path: Path) -> None:
    file = tmp_path / "map.html"
    tool = Running("biolatency", "-D", "-d", disk.name, "--heatmap", str(file))
    tool.ready(READY)
    disk.read(40)
    assert sum(counts(tool.stop())) == 40
    page = file.read_text()
    cells = re.findall(r'data-text="[^"]*: (\d+) of (\d+) ', page)
    assert sum(int(count) for count, _ in cells) == 40 and f"<h2>{disk.name}</h2>" in page
    found = run("biolatency", "--heatmap", "/nowhere/map.html")
    assert found.returncode == 2 and "there is no directory /nowhere" in found.stderr


def test_disks_that_are_not_there() -> None:
    found = run("biolatency", "-d", "nosuchdisk")
    assert found.returncode == 1 and "there is no disk 'nosuchdisk'" in found.stderr
    found = run("biolatency", "-D", "-F")
    assert found.returncode == 2 and "exclude each other" in found.stderr
