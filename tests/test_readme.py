"""What the README shows is true: its programs run, its messages are what is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]


def run(path: Path, source: str) -> subprocess.CompletedProcess[str]:
    path.write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.root
@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_programs_run(number: int, tmp_path: Path) -> None:
    done = run(tmp_path / "program.py", PROGRAMS[number])
    assert (done.returncode, done.stderr) == (0, "")
    counts = re.findall(r"^\[.*?[\])] +(\d+) \|[@ ]{52}\|$", done.stdout, re.MULTILINE)
    assert sum(map(int, counts)) >= 1000


@pytest.mark.needs("tracepoint")
def test_compile_error(tmp_path: Path) -> None:
    """To the letter, but for the directory of the file."""
    shown = next(text for _, text in BLOCKS if "filname" in text)
    source = (ROOT / "examples" / "opens.py").read_text("utf-8")
    wrong = source.replace("filename=args.filename)", "filename=args.filname)")
    done = run(tmp_path / "opens.py", wrong)
    assert done.stderr.endswith(f"CompileError: {tmp_path}/{shown}")
