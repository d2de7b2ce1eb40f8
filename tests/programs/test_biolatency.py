"""biolatency: a known number of requests to a loop device of the test's own, by every option and probe."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pybpf.cli.tools import find_tool
from pybpf.sys import features
from pybpf.tool import places
from tests.programs.cases import Running, run

pytestmark = [pytest.mark.root]

#: include/uapi/linux/loop.h
LOOP_SET_FD, LOOP_CLR_FD, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82
SIZE = 1 << 20
BLOCK = 4096


class Disk:
    """A loop device over a file."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(SIZE))
        with open("/dev/loop-control", "rb") as control:
            self.name = f"loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
        self.path = f"/dev/{self.name}"
        if not os.path.exists(self.path):  # without devtmpfs
            os.mknod(self.path, 0o600 | 0o060000, os.makedev(7, int(self.name[4:])))
        self.device = os.open(self.path, os.O_RDWR)
        with open(path, "rb+") as file:
            fcntl.ioctl(self.device, LOOP_SET_FD, file.fileno())
        self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, BLOCK)

    def read(self, count: int) -> None:
        """So many requests."""
        for number in range(count):
            assert os.preadv(self.direct, [self.buffer], number % (SIZE // BLOCK) * BLOCK) == BLOCK

    def write(self, count: int) -> None:
        for number in range(count):
            assert os.pwritev(self.direct, [self.buffer], number % (SIZE // BLOCK) * BLOCK) == BLOCK

    def close(self) -> None:
        os.close(self.direct)
        fcntl.ioctl(self.device, LOOP_CLR_FD)
        os.close(self.device)
        self.buffer.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if not os.path.exists("/dev/loop-control"):
        subprocess.run(["modprobe", "loop"], capture_output=True)
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("there are no loop devices")
    made = Disk(tmp_path / "image")
    yield made
    made.close()


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
    tool = Running("biolatency", "-j", "-D", "-d", disk.name, "0.4", "3")
    assert tool.process.stdout
    first = json.loads(tool.process.stdout.readline())
    disk.read(70)
    rows = [first, *map(json.loads, tool.wait())]
    assert len(rows) == 3 and {row["unit"] for row in rows} == {"usecs"}
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
    seen = _while_it_runs(lambda: disk.read(60), ["-j", "-D", "-d", disk.name, "--duration", "3", *options])
    (line,) = capfd.readouterr().out.splitlines()
    assert seen == 0 and json.loads(line)["count"] == 60
    assert [each["disk"] for each in json.loads(line)["histograms"]] == [disk.name]


def _while_it_runs(work: Callable[[], None], arguments: list[str]) -> int:
    """Run biolatency here; when it is attached, ``work``."""
    from pybpf.tool.run import Run

    tool = find_tool("biolatency")
    begun: list[threading.Thread] = []

    def later() -> None:
        time.sleep(0.3)
        work()

    start = Run.start

    def started(self: Run, tracer: object) -> None:
        start(self, tracer)  # type: ignore[arg-type]
        begun.append(threading.Thread(target=later))
        begun[0].start()

    patch = pytest.MonkeyPatch()
    patch.setattr(Run, "start", started)
    try:
        code = tool.main(arguments)
    finally:
        patch.undo()
    begun[0].join()
    return code


def test_disks_that_are_not_there() -> None:
    found = run("biolatency", "-d", "nosuchdisk")
    assert found.returncode == 1 and "there is no disk 'nosuchdisk'" in found.stderr
    found = run("biolatency", "-D", "-F")
    assert found.returncode == 2 and "exclude each other" in found.stderr
