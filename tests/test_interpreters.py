"""The package works on every CPython that it is for, as far as they are installed here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PRIVILEGED

pytestmark = pytest.mark.native

ROOT = Path(__file__).parent.parent
OLDEST, NEWEST = 9, 13  # of CPython 3, as README.md says
IMPORT_ALL = """
import importlib, pkgutil, pybpf
names = [each.name for each in pkgutil.walk_packages(pybpf.__path__, "pybpf.") if not each.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def _interpreters() -> dict[str, str]:
    """"3.9" -> path, of those on PATH and those that pyenv has; without the one that runs the tests."""
    places = [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep)]
    places += Path.home().glob(".pyenv/versions/*/bin")
    found: dict[str, str] = {}
    for minor in range(OLDEST, NEWEST + 1):
        for place in places:
            path = place / f"python3.{minor}"
            if minor == sys.version_info[1] or str(minor) in found or not os.access(path, os.X_OK):
                continue
            run = subprocess.run([path, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, text=True)
            if run.stdout == f"{minor}\n":  # pyenv's names lead nowhere where the version is not chosen
                found.setdefault(f"3.{minor}", str(path))
    return found


FOUND = _interpreters()


def test_the_readme_names_them() -> None:
    named = re.search(r"CPython 3\.(\d+) to 3\.(\d+)", (ROOT / "README.md").read_text())
    assert named and (int(named[1]), int(named[2])) == (OLDEST, NEWEST)
    assert f'requires-python = ">=3.{OLDEST}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.skipif(not FOUND, reason="no other CPython is installed")
@pytest.mark.parametrize("version", sorted({*list(FOUND)[:1], *list(FOUND)[-1:]}))  # the oldest and the newest
def test_every_module_is_imported_and_a_tool_traces(version: str, tmp_path: Path) -> None:
    python = FOUND[version]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(tmp_path)}
    run = subprocess.run([python, "-c", IMPORT_ALL], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0 and int(run.stdout) > 200, run.stderr
    if not PRIVILEGED:
        return
    command = [python, "-m", "pybpf", "syscount", "--json", "-T", "1000", "--exec", "true"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0 and '"syscall": "execve"' in run.stdout, run.stderr
