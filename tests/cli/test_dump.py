"""``pybpf dump``: every stage of the probes of a script, without loading them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pybpf.cli import main

_SCRIPT = '''
import sys
from pybpf import Tracer, u64
from pybpf.lang import pid

tracer = Tracer(pid=7)
hits = tracer.array(u64, 4)

@tracer.uprobe("libc.so.6", "getppid")
def first():
    if pid() > 5:
        hits[1] += 1

@tracer.profile(hz=99)
def second():
    print(f"{pid()}")

if __name__ == "__main__":
    sys.exit("must not run")
'''


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(_SCRIPT)
    return str(path)


def test_all_stages_of_all_probes(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", script, "--kernel", "5.10"]) == 0
    text = capsys.readouterr().out
    assert text.count("# uprobe:libc.so.6:getppid: first()\n") == text.count("# profile:99Hz: second()\n") == 1
    stages = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    half = len(stages) // 2
    assert stages[:half] == stages[half:]
    assert stages[:2] == ["python", "source"] and stages[half - 3 : half] == ["select", "code", "lines"]
    assert "hits[1] += 1" in text and "atomic" in text and "lock *(u64 *)" in text


def test_one_stage_of_one_probe(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", script, "--kernel", "5.10", "--probe", "first", "--pass", "lines"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["# uprobe:libc.so.6:getppid: first()", "## lines"]
    row = next(line for line in lines if "hits[1] += 1" in line)
    assert row.startswith("   12 hits[1] += 1 ") and " | " in row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--probe", "third"], "has no probes named 'third'"),
        (["--pass", "magic"], "there is no stage 'magic'; the stages are python, source, "),
    ],
)
def test_what_is_not_there(
    script: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dump", script, "--kernel", "5.10", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = ", "SyntaxError"),
        ("", "has no probes"),
    ],
)
def test_scripts_that_cannot_be_run(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "script.py"
    path.write_text(text)
    assert main(["dump", str(path), "--kernel", "5.10"]) == 1
    assert message in capsys.readouterr().err


def test_no_such_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "/nowhere.py"]) == 1
    assert "No such file" in capsys.readouterr().err
