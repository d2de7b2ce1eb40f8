"""--perfetto: the rows of a tool are on a time line, at their time, as long as they took."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs.cases import run

pytestmark = [pytest.mark.root, pytest.mark.native]


def events(path: Path, *options: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The events of a time line, and the rows as JSON."""
    done = run(options[0], "--json", "--perfetto", str(path), *options[1:])
    assert done.returncode == 0 and not done.stderr
    written = json.loads(path.read_text())["traceEvents"]
    return [each for each in written if each["ph"] != "M"], [json.loads(line) for line in done.stdout.splitlines()]


def test_moments(tmp_path: Path) -> None:
    code = "import os; os.getpgid(0); os.getpgid(5)"
    found, rows = events(tmp_path / "t.json", "trace", 'c:getpgid "%d", arg1', "--exec", sys.executable, "-c", code)
    assert [each["args"]["values"] for each in found] == [[0], [5]]
    assert [each["args"] for each in found] == rows
    assert {(each["name"], each["ph"], each["cat"]) for each in found} == {("getpgid", "i", "trace")}
    assert round(found[1]["ts"] - found[0]["ts"]) == pytest.approx((rows[1]["time"] - rows[0]["time"]) * 1e6, abs=2)

    code = "open('/etc/hostname').close()"
    command = ["--path", "/etc/hos*", "--exec", sys.executable, "-c", code]
    found, rows = events(tmp_path / "o.json", "opensnoop", *command)
    assert [each["name"] for each in found] == [row["path"] for row in rows] == ["/etc/hostname"]
    found, rows = events(tmp_path / "e.json", "execsnoop", "--follow", "--exec", "sh", "-c", "true; /bin/true; exit")
    assert [each["name"] for each in found] == [row["args"][0] for row in rows] and "/bin/true" in found[-1]["name"]


def test_what_lasts(tmp_path: Path) -> None:
    command = ["--follow", "--exec", "sh", "-c", "sleep 0.1 & sleep 0.2; wait"]
    found, rows = events(tmp_path / "x.json", "exitsnoop", *command)
    begins = {each["pid"]: each for each in found if each["ph"] == "b"}
    ends = {each["pid"]: each for each in found if each["ph"] == "e"}
    assert len(rows) == 3 and set(begins) == set(ends) == {row["pid"] for row in rows}
    for row in rows:
        first, last = begins[row["pid"]], ends[row["pid"]]
        assert first["id"] == last["id"] and first["name"] == row["comm"]
        assert last["ts"] - first["ts"] == pytest.approx(row["age_s"] * 1e6, abs=1)


def test_without_a_thread_of_their_own(tmp_path: Path) -> None:
    code = "import os; os.stat('/etc/hostname'); os.kill(os.getpid(), 0)"
    for tool, name in (("statsnoop", "/etc/hostname"), ("killsnoop", "signal 0 to ")):
        found, rows = events(tmp_path / f"{tool}.json", tool, "--exec", sys.executable, "-c", code)
        assert len(found) == len(rows) and sum(each["name"].startswith(name) for each in found) == 1


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    full = run("opensnoop", "--perfetto", "/dev/full", "--exec", "true")
    assert full.returncode == 1 and full.stderr == "pybpf opensnoop: cannot write /dev/full: No space left on device\n"
    found = run("opensnoop", "--perfetto", str(tmp_path), "--exec", "true")
    assert found.returncode == 2 and "is a directory" in found.stderr
