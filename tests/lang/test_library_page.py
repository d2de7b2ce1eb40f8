"""Every program of ``docs/library.md`` runs, and prints what it should."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe")]
PAGE = Path(__file__).parents[2] / "docs" / "library.md"
PROGRAMS = re.findall(r"^## (.*?)$(?:(?!^## ).)*?^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
CALLS = """
import ctypes, select, sys
libc = ctypes.CDLL(None)
while not select.select([0], [], [], 0.01)[0]:
    libc.getppid()
"""
#: heading -> what its program prints; PID is that of the process, COMM its name
PRINTED = {
    "Events": r"PID COMM\nTrue 0\n",
    "Maps, and work at intervals": r"(PID True\n)+True True\n",
    "asyncio": r"\[2, 3\]\nno more\n",
    "Threads": r"True\n",
    "Another event loop": r" *PID called\n",
    "Errors": r"12 .*1\.5.*\nNotFoundError\n",
}


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", CALLS], stdin=subprocess.PIPE) as caller:
        yield caller
        caller.communicate()


def test_all_programs_are_known() -> None:
    assert [title for title, _ in PROGRAMS] == list(PRINTED)
    assert len(PROGRAMS) == PAGE.read_text().count("```python\n")


@pytest.mark.parametrize(("title", "program"), PROGRAMS, ids=[title for title, _ in PROGRAMS])
def test_program(
    title: str,
    program: str,
    process: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "program.py"
    path.write_text(program)
    monkeypatch.setattr(sys, "argv", [str(path), str(process.pid)])
    runpy.run_path(str(path), run_name="__main__")
    name = Path(f"/proc/{process.pid}/comm").read_text().strip()
    wanted = PRINTED[title].replace("PID", str(process.pid)).replace("COMM", re.escape(name))
    out, err = capsys.readouterr()
    assert re.fullmatch(wanted, out) and not err, out
