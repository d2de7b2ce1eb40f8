"""The program of ``docs/language.md`` runs, and prints what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lang.test_library_page import CALLS

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe", "bloom_filter", "task_storage")]
ROOT = Path(__file__).parents[2]
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/language.md").read_text(), re.MULTILINE | re.DOTALL)


def test_program(tmp_path: Path) -> None:
    (program,) = PROGRAMS
    path = tmp_path / "program.py"
    path.write_text(program)
    with subprocess.Popen([sys.executable, "-S", "-c", CALLS], stdin=subprocess.PIPE) as caller:
        done = subprocess.run(
            [sys.executable, str(path), str(caller.pid)],
            capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""}, timeout=120, check=False,
        )  # fmt: skip
        caller.communicate()
    assert (done.stdout, done.stderr) == ("2 1 True 1 True True True True\n", "")
