"""cachestat: pages that a process reads and writes on command, out of the cache and in it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs.cachestat import ACCESSED, TOOL
from pybpf import Tracer
from pybpf.tool import Run, places
from pybpf.tool.command import parse
from tests.programs.cases import Running

pytestmark = [pytest.mark.root, pytest.mark.native]

PAGE = 4096
PAGES = 64
#: cold: out of the cache; read: in steps of so many pages; all: at once, and more than there is; write: pages behind
_SOURCE = r"""
import os, sys
PAGE = 4096
file = os.open(sys.argv[1], os.O_RDWR)
def act(word, number):
    size = os.fstat(file).st_size
    if word == "cold":
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    elif word == "read":
        for start in range(0, size, number * PAGE):
            os.pread(file, number * PAGE, start)
    elif word == "all":
        for _ in range(number):
            os.pread(file, 4 * size, 0)
    elif word == "write":
        os.pwrite(file, b"x" * number * PAGE, size)
        os.ftruncate(file, size)
def obey(line):
    for item in line.split():
        word, _, number = item.partition(",")
        act(word, int(number or 0))
obey("cold read,4 all,2 write,3 cold")
print("ready", flush=True)
for line in sys.stdin:
    obey(line)
    print("done", flush=True)
"""


class Reader:
    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(PAGES * PAGE))
        self.process = subprocess.Popen([sys.executable, "-S", "-c", _SOURCE, str(path)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.says("ready\n")

    def says(self, line: str) -> None:
        assert self.process.stdout and self.process.stdout.readline() == line

    def __call__(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.says("done\n")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    # what is in memory only is not read through the cache
    place = next((each for each in (tmp_path, Path("/var/tmp")) if kind_of(each) not in ("tmpfs", "ramfs")), None)
    if place is None:
        pytest.skip("there is no file system on a disk")
    with tempfile.NamedTemporaryFile(dir=place) as file:
        made = Reader(Path(file.name))
        made("all,1 cold")
        yield made
        made.process.communicate()


def kind_of(path: Path) -> str:
    """Of a file system."""
    done = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def report(reader: Reader, work: str) -> dict[str, float]:
    tool = Running("cachestat", "-p", str(reader.process.pid), "--json", "1000")
    tool.attached()
    reader(work)
    (line,) = tool.stop()
    found: dict[str, float] = json.loads(line)
    return found


@pytest.mark.parametrize("place", ACCESSED.places)
def test_every_way(
    place: str, reader: Reader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each place where pages that are looked up can be seen; some count a folio of several pages once."""
    known = places.lack
    if known(place):
        pytest.skip(f"this kernel has no {place}")
    if place == ACCESSED.places[-1] and not known(ACCESSED.places[-2]):
        pytest.skip("what this kernel marks are folios")
    monkeypatch.setattr(places, "lack", lambda other: "not here" if other in ACCESSED.places and other != place
                        else known(other))  # fmt: skip

    def found(work: str) -> dict[str, float]:
        class Working(Run):
            """The process reads as soon as it is traced; then the run is over."""

            def start(self, tracer: Tracer) -> None:
                super().start(tracer)
                reader(work)
                self.stop()

        with Working(TOOL, parse(TOOL, ["-p", str(reader.process.pid), "--json", "1000"])) as running:
            TOOL.trace(running)
        (line,) = capsys.readouterr().out.splitlines()
        result: dict[str, float] = json.loads(line)
        return result

    cold, warm = found("cold read,4"), found("read,4 all,3")
    assert 0 < cold["misses"] <= PAGES and warm["misses"] == 0 and 0 < warm["hits"] <= 4 * PAGES


@pytest.mark.native
def test_what_is_read(reader: Reader) -> None:
    cold = report(reader, "read,4")
    assert (cold["misses"], cold["hits"]) == (PAGES, 0)
    warm = report(reader, "read,4 all,3")
    assert (warm["misses"], warm["hits"], warm["hit_ratio"]) == (0, 4 * PAGES, 1)
    both = report(reader, "cold all,2")
    assert (both["misses"], both["hits"], both["hit_ratio"]) == (PAGES, PAGES, 0.5)


@pytest.mark.native
def test_what_is_written_is_no_miss(reader: Reader) -> None:
    written = report(reader, "write,8")
    assert written["misses"] == 0 and 1 <= written["dirties"] <= 8  # eight pages, or fewer folios


@pytest.mark.native
def test_rows(reader: Reader) -> None:
    tool = Running("cachestat", "-T", "-p", str(reader.process.pid), "0.2", "2")
    assert tool.ready("TIME") == "TIME         HITS   MISSES  DIRTIES HITRATIO   BUFFERS_MB  CACHED_MB\n"
    rows = [line.split() for line in tool.wait()]
    assert [row[1:5] for row in rows] == [["0", "0", "0", "0.00%"]] * 2
    assert all(len(row) == 7 and int(row[6]) > 0 for row in rows)
