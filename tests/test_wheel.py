"""What pip installs is whole: the command and the tools work away from the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.skipif("PYBPF_VM" in os.environ, reason="there is no package index in the guests")
def test_the_wheel_has_every_file_and_runs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    subprocess.run(
        ["tar", "-cf", str(tmp_path / "source.tar"), "--null", "-T", "-"],
        cwd=ROOT, input=names.stdout, text=True, check=True,
    )  # fmt: skip
    subprocess.run(["tar", "-xf", str(tmp_path / "source.tar"), "-C", str(source)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("pybpf/")}
    library = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pybpf").rglob("*.py")}
    tools = {f"pybpf/programs/{path.name}" for path in (ROOT / "programs").glob("*.py")}
    assert {name for name in packed if name.endswith(".py")} == library | tools
    assert "pybpf/py.typed" in packed
    run = subprocess.run(
        [sys.executable, "-m", "pybpf", "syscount", "--list"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0 and "openat" in run.stdout, run.stderr
