"""``--again``: what fails once, twice, in a set-up, when it is torn down, and too often."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.again import MOST, UNSTEADY

pytestmark = pytest.mark.pure

# Tests that fail the first time only keep in a file that they ran.
TESTS = """
import os, pytest

def first(name):
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

@pytest.fixture
def late():
    assert not first("setup"), "late set-up"

@pytest.fixture
def leaky():
    yield
    assert not first("teardown"), "a leak"

@pytest.mark.parametrize("n", [1, 2])
def test_once(n): assert n == 1 or not first("call"), "late by chance"
def test_setup(late): pass
def test_alone():
    if first("alone"):
        assert not os.path.exists("other"), "not alone"
        assert False
def test_twice(): assert False, "always"
def test_leak(leaky): pass
@pytest.fixture
def open_end():
    yield
    assert not first("end"), "left open"
def test_fails_and_leaks(open_end): assert not first("failed"), "for a moment"
def test_fine(): open("other", "w").close()
"""


def run(where: Path, tests: str, *options: str) -> tuple[int, str]:
    """The exit code of pytest for a file of tests, and what it printed."""
    (where / "test_it.py").write_text(tests)
    words = [sys.executable, "-m", "pytest", "-p", "tests.again", "-p", "no:cacheprovider", "--color=no", *options]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([*words, f"--rootdir={where}", "test_it.py"], cwd=where, capture_output=True, text=True,
                          timeout=100, check=False, env=environment)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_what_passes_alone_fails_no_run(tmp_path: Path) -> None:
    without = re.sub("def test_(twice|leak).*", "", TESTS)
    code, said = run(tmp_path, without, "--again", "--junitxml=junit.xml", "-ra")
    assert code == 0, said
    assert re.search(r"=+ unsteady: failed once, passed alone =+", said)
    for name in ("test_once[2]", "test_setup", "test_alone", "test_fails_and_leaks"):
        assert f"UNSTEADY test_it.py::{name}" in said
    assert "late by chance" in said and "late set-up" in said and "left open" in said and "FAILED" not in said
    assert re.search(r"=+ 2 passed, 4 unsteady in ", said.splitlines()[-1])
    found = {
        case.get("name"): [each.get("value") for each in case.iter("property") if each.get("name") == UNSTEADY]
        for case in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")
    }
    again = ["test_once[2]", "test_setup", "test_alone", "test_fails_and_leaks"]
    assert [name for name, how in found.items() if how] == again
    assert len(found) == 6 and "late by chance" in str(found["test_once[2]"])


def test_what_fails_twice_or_leaks_fails_the_run(tmp_path: Path) -> None:
    code, said = run(tmp_path, TESTS, "--again", "-ra")
    assert code == 1
    assert re.search(r"^FAILED test_it.py::test_twice", said, re.MULTILINE)
    assert re.search(r"^ERROR test_it.py::test_leak - AssertionError: a leak", said, re.MULTILINE)
    assert "- once more, alone -" in said and said.count("FAILED test_it.py::test_twice") == 2  # the inner run's, too
    assert re.search(r"=+ 1 failed, 3 passed, 1 error, 4 unsteady in ", said.splitlines()[-1])


def test_without_it_nothing_runs_twice(tmp_path: Path) -> None:
    code, said = run(tmp_path, TESTS)
    assert code == 1 and "4 failed, 3 passed, 3 errors" in said and "unsteady" not in said
    code, said = run(tmp_path, TESTS.replace("not first(", "first("), "--again", "-x")
    assert code == 1 and "unsteady" not in said


def test_many_failures_are_no_chance(tmp_path: Path) -> None:
    tests = TESTS + f"@pytest.mark.parametrize('n', range({MOST}))\ndef test_many(n): assert not first(f'many{{n}}')\n"
    code, said = run(tmp_path, tests, "--again")
    assert code == 1 and "unsteady" not in said
    assert re.search(rf"{MOST + 4} failed, 3 passed, 3 errors in ", said.splitlines()[-1]), said


def test_what_cannot_be_read_fails_the_run(tmp_path: Path) -> None:
    code, said = run(tmp_path, "import no_such_module", "--again")
    assert code == 2 and "1 error in" in said.splitlines()[-1], said
