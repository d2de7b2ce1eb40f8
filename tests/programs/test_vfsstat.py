"""vfsstat: exact numbers of calls that a process makes on command, by functions of the kernel or by system calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpf.sys import features
from pybpf.tool import places
from tests.programs.cases import Running, while_it_runs
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root]
#: the columns, and how often the calls below come to each
EXPECTED = {"fsyncs": 3, "opens": 2, "creates": 1, "unlinks": 2, "mkdirs": 2, "rmdirs": 1}
O_CREAT_RDWR, S_IFREG, S_IFIFO, AT_FDCWD, AT_REMOVEDIR = 0o102, 0o100000, 0o010000, -100, 0x200


@pytest.fixture
def caller() -> Iterator[Caller]:
    with Caller() as made:
        yield made


def work(caller: Caller, place: Path) -> None:
    """The calls of EXPECTED; and 40 writes, 30 of them by pwrite(2). The caller's own are one read and write a line."""
    file, regular, fifo, directory = (f"'{place}/{name}" for name in ("file", "regular", "fifo", "directory"))
    caller.call(f"open,{file},{O_CREAT_RDWR},384 open,'/nowhere,0 open,{file},{O_CREAT_RDWR},384")
    number = next(
        int(each.name) for each in Path(f"/proc/{caller.pid}/fd").iterdir() if each.resolve() == place / "file"
    )
    caller.call(f"write,{number},'x,1*10 pwrite,{number},'y,1,0*30 fsync,{number}*3")
    caller.call(f"mknod,{regular},{S_IFREG | 0o600},0 mknod,{fifo},{S_IFIFO | 0o600},0")
    caller.call(f"mkdir,{directory},448 mkdir,{place}/x,448".replace(f"mkdir,{place}", f"mkdir,'{place}"))
    caller.call(f"unlink,{regular} unlinkat,{AT_FDCWD},{fifo},0 unlink,'/nowhere")
    caller.call(f"unlinkat,{AT_FDCWD},{directory},{AT_REMOVEDIR} rmdir,'/nowhere/at/all")


@pytest.mark.parametrize("kind", ["fentry", "kprobe", "tracepoint"])
def test_numbers_are_exact(
    caller: Caller, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not features.has(kind):
        pytest.skip(f"the kernel has no {kind}")
    known = places.lack
    monkeypatch.setattr(places, "lack", lambda place: known(place) if place.startswith(kind) else "not taken")
    arguments = ["-p", str(caller.pid), "--json", "1000"]
    assert while_it_runs("vfsstat", lambda: work(caller, tmp_path), arguments) == 0
    out, err = capfd.readouterr()
    (line,) = out.splitlines()
    row = json.loads(line)
    if kind != "tracepoint":  # compilers may put vfs_fsync_range() into its callers
        assert 0 <= row.pop("fsyncs") <= 3
    assert {name: row[name] for name in EXPECTED if name in row} == {n: EXPECTED[n] for n in EXPECTED if n in row}
    assert row["writes"] == 40 + 6 and row["reads"] >= 6
    assert ("counting system calls that succeed" in err) == (kind == "tracepoint")


def test_rates(caller: Caller) -> None:
    tool = Running("vfsstat", "-p", str(caller.pid), "0.5", "2")
    title = "TIME         READ/s  WRITE/s  FSYNC/s   OPEN/s CREATE/s UNLINK/s  MKDIR/s  RMDIR/s\n"
    assert tool.ready("TIME") == title
    while tool.process.poll() is None:
        caller.call("write,-1,'x,1*10")  # which do not succeed, and do not come that far
    rows = [line.split() for line in tool.wait()]
    assert len(rows) == 2 and all(len(row) == 9 and row[0].count(":") == 3 for row in rows)
    assert all(0 < int(row[1]) < int(row[2]) * 2 and row[3:] == ["0"] * 6 for row in rows)
