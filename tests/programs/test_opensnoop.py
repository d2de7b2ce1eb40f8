"""opensnoop: every open of a process with known ones, by every option."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs.cases import Running, run

pytestmark = [pytest.mark.root]

# Opens what a line names: FLAGS (a number) DIRECTORY (a descriptor is opened for it, or -) PATH; says when it is done.
OPENER = r"""
import os, sys
print("ready", flush=True)
for line in sys.stdin:
    flags, directory, path = line.rstrip("\n").split(" ", 2)
    where = None if directory == "-" else os.open(directory, os.O_PATH)
    try:
        os.close(os.open(path, int(flags), 0o640, dir_fd=where))
    except OSError:
        pass
    if where is not None:
        os.close(where)
    os.write(1, b"done\n")
"""


class Opener:
    """A process that opens files on command."""

    def __init__(self, **kwargs: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OPENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **kwargs
        )
        self.pid = self.process.pid
        self._expect("ready\n")

    def _expect(self, line: str) -> None:
        assert self.process.stdout and self.process.stdout.readline() == line

    def open(self, path: object, flags: int = os.O_RDONLY, directory: object = "-") -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{flags} {directory} {path}\n")
        self.process.stdin.flush()
        self._expect("done\n")

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()


HEADER = "PID    COMM               FD ERR PATH"


def test_rows_and_columns_are_those_of_bcc(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    with Opener() as opener:
        tool = Running("opensnoop", "-p", str(opener.pid))
        assert tool.ready("PID") == HEADER + "\n"
        opener.open(tmp_path / "there")
        opener.open(tmp_path / "absent")
        name = Path(f"/proc/{opener.pid}/comm").read_text().strip()
        lines = tool.stop()
    with_fd, failed = lines
    assert with_fd == f"{opener.pid:<6d} {name:<16s} {3:4d} {0:3d} {tmp_path}/there"
    assert failed == f"{opener.pid:<6d} {name:<16s} {-1:4d} {errno.ENOENT:3d} {tmp_path}/absent"


def test_every_open_is_there_once(tmp_path: Path) -> None:
    count = 2000 if not os.environ.get("PYBPF_VM") else 200
    script = f"import os\nfor i in range({count}): os.close(os.open('/dev/null', os.O_RDONLY))"
    found = run("opensnoop", "--json", "--path", "/dev/null", "--exec", sys.executable, "-S", "-c", script)
    assert found.returncode == 0 and not found.stderr, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(rows) == count and {row["path"] for row in rows} == {"/dev/null"}
    times = [row["time"] for row in rows]
    assert times == sorted(times)


def test_only_failures_and_flags(tmp_path: Path) -> None:
    with Opener() as opener:
        failed = Running("opensnoop", "-x", "-p", str(opener.pid))
        writing = Running("opensnoop", "-e", "-f", "O_WRONLY", "-f", "O_CREAT", "-p", str(opener.pid))
        failed.ready("PID")
        writing.ready("PID")
        opener.open("/dev/null")
        opener.open("/nonexistent/file")
        opener.open(tmp_path / "made", os.O_WRONLY | os.O_CREAT)
        opener.open("/dev/null", os.O_WRONLY)
        assert [line.split()[-1] for line in failed.stop()] == ["/nonexistent/file"]
        made, null = writing.stop()
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    assert made.split()[4:] == [f"{flags:08o}", "0640", f"{tmp_path}/made"]
    assert null.split()[4:] == [f"{os.O_WRONLY | os.O_CLOEXEC:08o}", "n/a", "/dev/null"]


def test_full_paths(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    with Opener(cwd=tmp_path) as opener:
        tool = Running("opensnoop", "-F", "-p", str(opener.pid), "--path", "*wanted*")
        tool.ready("PID")
        opener.open("wanted1")
        opener.open("wanted2", directory=tmp_path / "below")
        opener.open("/wanted3")
        opener.open("other")
        paths = [line.split()[-1] for line in tool.stop()]
    assert paths == [f"{tmp_path}/wanted1", f"{tmp_path}/below/wanted2", "/wanted3"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("/tmp/a*", ["/tmp/abc", "/tmp/a"]), ("*c", ["/tmp/abc"]), ("/*b*", ["/tmp/abc"]), ("/tmp/a", ["/tmp/a"]),
     ("/tmp/?bc", ["/tmp/abc"]), ("*", ["/tmp/abc", "/tmp/a", "/x"])],
)  # fmt: skip
def test_patterns_of_paths(pattern: str, expected: list[str]) -> None:
    with Opener() as opener:
        tool = Running("opensnoop", "-p", str(opener.pid), "--path", pattern)
        tool.ready("PID")
        for path in ("/tmp/abc", "/tmp/a", "/x"):
            opener.open(path, os.O_RDONLY | os.O_DIRECTORY)
        assert [line.split()[-1] for line in tool.stop()] == expected


@pytest.mark.parametrize("options", [[], ["-F"]])
def test_long_paths_are_whole(options: list[str]) -> None:
    """Of 510 and 511 bytes, above them, and the longest."""
    start = "/nonexistent/" + "/".join(["b" * 200] * 20)
    paths = [f"{start[:length - 4]}/end" for length in (510, 511, 512, 800, 4095)]
    patterns = ["*/end", f"{start[:250]}*", f"*{'b' * 190}/*end", paths[3]]
    with Opener() as opener:
        tools = [Running("opensnoop", "--json", *options, "-p", str(opener.pid), "--path", each) for each in patterns]
        for tool in tools:
            tool.attached()
        for each in paths:
            opener.open(each)
        found = [sorted((json.loads(line)["path"] for line in tool.stop()), key=len) for tool in tools]
    assert found == [paths, paths, paths, [paths[3]]]


def test_classes_with_brackets(tmp_path: Path) -> None:
    with Opener() as opener:
        tool = Running("opensnoop", "-p", str(opener.pid), "--path", f"{tmp_path}/a[]x]*")
        tool.ready("PID")
        for name in ("a]", "ax1", "a]]", "a", "ay"):
            opener.open(tmp_path / name)
        assert [line.rpartition("/")[2] for line in tool.stop()] == ["a]", "ax1", "a]]"]


def test_names_threads_and_users() -> None:
    with Opener() as opener:
        comm = Path(f"/proc/{opener.pid}/comm").read_text().strip()
        options = [["-n", comm[1:4]], ["-n", "zzz"], ["-u", "0"], ["-u", "54321"], ["-t", str(opener.pid), "-U"],
                   ["--comm", comm], ["--comm", comm + "x"]]  # fmt: skip
        tools = [Running("opensnoop", "--path", "/nonexistent/N", "-p", str(opener.pid), *each) for each in options]
        for tool, each in zip(tools, options):
            tool.ready("UID" if "-U" in each else "PID")
        opener.open("/nonexistent/N")
        found = [len(tool.stop()) for tool in tools]
    assert found == [1, 0, 1, 0, 1, 1, 0]


def test_control_characters_are_escaped() -> None:
    with Opener() as opener:
        tool = Running("opensnoop", "-p", str(opener.pid))
        as_json = Running("opensnoop", "--json", "-p", str(opener.pid), "-d", "60")
        tool.ready("PID")
        opener.open("/nonexistent/\x1b[31m\x7f")
        (line,) = tool.stop()
        as_json.process.send_signal(signal.SIGINT)
        rows = [json.loads(text) for text in as_json.wait()]
    assert line.endswith("/nonexistent/\\x1b[31m\\x7f")
    assert all(row["path"] == "/nonexistent/\x1b[31m\x7f" for row in rows)


def test_children_are_followed() -> None:
    script = "cat /nonexistent/one; (cat /nonexistent/two; sh -c 'cat /nonexistent/three'); true"
    for options, count in ((["--follow"], 3), ([], 0)):
        found = run("opensnoop", "--json", "--path", "/nonexistent/*", *options, "-c", f'sh -c "{script}"')
        rows = [json.loads(line) for line in found.stdout.splitlines()]
        assert len(rows) == count and {row["errno"] for row in rows} <= {errno.ENOENT}
        assert len({row["pid"] for row in rows}) == count


def test_children_that_are_there_are_followed() -> None:
    child = "import subprocess, sys; subprocess.run(['sh', '-c', 'read x; cat /nonexistent/file'])"
    process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        pass
    tool = Running("opensnoop", "--follow", "-p", str(process.pid), "--path", "/nonexistent/*")
    tool.ready("PID")
    process.communicate(b"\n")
    assert len(tool.stop()) == 1


def test_csv(tmp_path: Path) -> None:
    with Opener() as opener:
        tool = Running("opensnoop", "--csv", "-p", str(opener.pid))
        tool.ready("time,")
        opener.open("/nonexistent/a,\"b")
        (row,) = csv.reader(tool.stop())
    assert row[2:] == ["0", str(opener.pid), str(opener.pid), row[5], "-1", "2", row[8], "", "/nonexistent/a,\"b"]


def test_a_flag_that_does_not_exist() -> None:
    found = run("opensnoop", "-f", "O_WRONLI")
    assert found.returncode == 2 and "did you mean O_WRONLY?" in found.stderr


def test_with_two_capabilities() -> None:
    """Without tracefs: the calls are then seen at the raw tracepoint of all of them, or by kprobes."""
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+bpf,+perfmon"]
    with Opener() as opener:
        words = [*drop, sys.executable, "-m", "pybpf", "opensnoop", "-p", str(opener.pid)]
        tool = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert tool.stdout and tool.stdout.readline() == HEADER + "\n"
        opener.open("/nonexistent/file")
        tool.send_signal(signal.SIGINT)
        out, err = tool.communicate(timeout=60)
    assert [line.split()[-1] for line in out.splitlines()] == ["/nonexistent/file"] and not err


def test_what_is_lost_is_counted() -> None:
    """A buffer of one page: all opens are delivered or counted, and it is said when it happens and at the end."""
    count = 30_000 if not os.environ.get("PYBPF_VM") else 3000
    script = f"import os\nfor i in range({count}): os.close(os.open('/dev/null', os.O_RDONLY))"
    found = run("opensnoop", "--json", "-b", "1", "--path", "/dev/null", "--exec", sys.executable, "-S", "-c", script)
    assert found.returncode == 0
    totals = [int(line.split()[1]) for line in found.stderr.splitlines() if " events lost" in line]
    assert totals and totals == sorted(set(totals))
    assert len(found.stdout.splitlines()) + totals[-1] == count
