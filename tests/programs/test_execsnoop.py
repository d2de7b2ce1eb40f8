"""execsnoop: every exec of a known script, with its whole command line, by every option."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpf.cli.tools import find_tool
from pybpf.tool import places
from pybpf.tool.declare import Tool
from tests.programs.cases import Running, complaints, run

pytestmark = [pytest.mark.root]


def execs(script: str, *options: str) -> list[dict[str, Any]]:
    """What execsnoop tells, as JSON, of the commands of a shell's script."""
    found = run("execsnoop", "--json", "--follow", *options, "--exec", "sh", "-c", script)
    assert found.returncode == 0, found.stderr
    assert not [line for line in complaints(found.stderr) if line.startswith("execsnoop: ")], found.stderr
    first, *rows = [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]
    assert first["args"][1:] == ["-c", script]
    return rows


def lines(script: str, *options: str) -> list[str]:
    """The rows of its table, the shell's own left out."""
    words = ["execsnoop", "--follow", *options, "--exec", "sh", "-c", f"exec >/dev/null; {script}"]
    found = run(words[0], *words[1:])
    assert found.returncode == 0, found.stderr
    header, _, *rows = found.stdout.splitlines()
    return [header, *rows]


def test_columns_are_those_of_bcc() -> None:
    header, row, *rest = lines("/bin/true a 'b c'; :")
    assert header == "COMM             PID     PPID    RET ARGS" and not rest
    comm, pid, ppid, ret, args = row.split(None, 4)
    assert row == f"{comm:<16s} {int(pid):<7d} {ppid:<7s} {0:3d} /bin/true a b c"
    assert comm == "true" and int(pid) > 0 and int(ppid) > 0 and ret == "0" and args


def test_every_column() -> None:
    header, row = lines("/bin/true; :", "-T", "-t", "-U", "-M", "-C")
    assert header.split() == ["TIME", "TIME(s)", "UID", "COMM", "PID", "PCOMM", "PPID", "CPU", "RET", "ARGS"]
    clock, offset, uid, comm, _, pcomm, _, cpu, ret, args = row.split()
    assert clock.count(":") == 2 and float(offset) > 0 and (uid, comm, pcomm) == ("0", "true", "sh")
    assert 0 <= int(cpu) < (os.cpu_count() or 1) and (ret, args) == ("0", "/bin/true")


def test_arguments_are_whole(tmp_path: Path) -> None:
    words = ["", "a\nb", "-x", 'q"uote', "", "é\udcff", "last", ""]
    script = f"/bin/true {' '.join(shlex.quote(word) for word in words)}; :"
    (row,) = execs(script)
    assert row["args"] == ["/bin/true", *words] and row["ret"] == 0


def test_every_exec_is_there_once() -> None:
    count = 300 if not os.environ.get("PYBPF_VM") else 50
    rows = execs(f"i=0; while [ $i -lt {count} ]; do /bin/true $i; i=$((i+1)); done; :")
    assert [row["args"] for row in rows] == [["/bin/true", str(i)] for i in range(count)]
    assert len({row["pid"] for row in rows}) == count and len({row["ppid"] for row in rows}) == 1


def test_scripts_are_shown_as_they_were_called(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("#!/bin/sh -e\n:\n")
    outer.write_text(f"#!{inner} option\n")
    for file in (inner, outer):
        file.chmod(0o755)
    rows = execs(f"{inner} a '' b; {outer} c; :")
    assert [row["args"] for row in rows] == [[str(inner), "a", "", "b"], [str(outer), "c"]]


def test_failures_are_shown_with_x(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    script = f"/nonexistent/a b '' 'c d' ''; {tmp_path}/plain e; /bin/true; :"
    rows = execs(script, "-x")
    found = [(row["ret"], row["args"]) for row in rows]
    assert found == [(-2, ["/nonexistent/a", "b", "", "c d", ""]), (-13, [f"{tmp_path}/plain", "e"]),
                     (0, ["/bin/true"])]  # fmt: skip
    assert [row["args"] for row in execs(script)] == [["/bin/true"]]


def test_quotes_limits_and_cuts(tmp_path: Path) -> None:
    _, row = lines("/bin/true 'a \"b' c; :", "-q")
    assert row.endswith(' "/bin/true" "a \\"b" "c"')
    _, row = lines("/bin/true 1 2 3 4; :", "--max-args", "3")
    assert row.endswith(" /bin/true 1 2 ...")
    _, row = lines("/bin/true 1 2; :", "--max-args", "3")
    assert row.endswith(" /bin/true 1 2")
    many = " ".join(map(str, range(3000)))
    (tmp_path / "script").write_text(f"/bin/true {many}; :")
    (cut,) = execs(f". {tmp_path}/script")
    assert cut["args"][:3] == ["/bin/true", "0", "1"] and 500 < len(cut["args"]) < 3000
    _, row = lines(f". {tmp_path}/script", "--max-args", "9999")
    assert row.endswith(" ...")


def test_filters_by_name_and_line() -> None:
    script = "/bin/true one; /bin/echo two; /bin/true two; :"
    assert [row["args"][0] for row in execs_of(script, "-n", "^ec")] == ["/bin/echo"]
    assert [row["args"] for row in execs_of(script, "-l", "true.*wo$")] == [["/bin/true", "two"]]


def execs_of(script: str, *options: str) -> list[dict[str, Any]]:
    found = run("execsnoop", "--json", "--follow", *options, "--exec", "sh", "-c", f"exec >&2; {script}")
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    return [row for row in rows if row["args"][0] != "/usr/bin/sh"]


def test_by_parent_and_user() -> None:
    shell = subprocess.Popen(["sh", "-c", "read x; /bin/true 1; setpriv --reuid 12345 /bin/true 2; read x"],
                             stdin=subprocess.PIPE, text=True)  # fmt: skip
    assert shell.stdin
    by_parent = Running("execsnoop", "-P", str(shell.pid))
    by_user = Running("execsnoop", "-U", "-u", "12345", "-P", str(shell.pid))
    by_parent.ready("COMM")
    by_user.ready("UID")
    shell.communicate("\n\n")
    assert [line.split()[4:] for line in by_parent.stop()] == [
        ["/bin/true", "1"], ["/usr/bin/setpriv", "--reuid", "12345", "/bin/true", "2"], ["/bin/true", "2"],
    ]  # fmt: skip
    (row,) = by_user.stop()
    assert row.split()[0] == "12345" and row.endswith("/bin/true 2")


def test_a_thread_that_executes() -> None:
    script = "import os, threading; threading.Thread(target=os.execv, args=('/bin/true', ['x', 'y'])).start(); input()"
    found = run("execsnoop", "--json", "-x", "--exec", sys.executable, "-c", script, stdin=subprocess.PIPE)
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert [row["args"] for row in rows[1:]] == [["/bin/true", "y"]] and rows[0]["pid"] == rows[1]["pid"]


@pytest.fixture
def untyped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    """execsnoop on a kernel whose types are not known."""
    known = places.lack
    monkeypatch.setattr(places, "lack", lambda place: "not here" if place.startswith("tp_btf") else known(place))
    yield find_tool("execsnoop")


def test_where_types_are_not_known(untyped: Tool, capfd: pytest.CaptureFixture[str]) -> None:
    script = "/bin/true a ''; /nonexistent/b c 2>/dev/null; :"
    assert untyped.main(["--json", "-x", "--follow", "--exec", "sh", "-c", script]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(row["ret"], row["args"]) for row in rows[1:]] == [
        (0, ["/bin/true", "a", ""]), (-2, ["/nonexistent/b", "c"]),
    ]  # fmt: skip
