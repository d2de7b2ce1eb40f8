"""What each pass makes of a short function, before and after: passes/PASS.txt has the cases of a pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pybpf.compiler.check import check
from pybpf.compiler.midend import PASSES_MID
from pybpf.compiler.parse import parse_unit
from pybpf.compiler.target import Target
from pybpf.compiler.text import format_unit

pytestmark = pytest.mark.pure

HEAD = """\
unit raw_tracepoint
  map m = hash key 4 value 8 entries 8
  map structs = lru_hash key 4 value 16 entries 8
  map one = array key 4 value 16 entries 1
  map ring = ringbuf key 0 value 0 entries 4096
func f(ptr):
"""
TARGET = Target.described("5.10", "x86_64")
#: a case in a file: what it shows, the function, and what becomes of it
_CASE = re.compile(r"^=== (.+)\n((?:(?!===|---).*\n)+)--- after\n((?:(?!===|---).+\n)+)", re.MULTILINE)


class Case(NamedTuple):
    run: str
    what: str
    before: str
    after: str


def _read(path: Path) -> Iterator[Case]:
    text = path.read_text("utf-8")
    found = [Case(path.stem, *each.groups()) for each in _CASE.finditer(text)]
    assert len(found) == text.count("=== "), f"{path}: not all of it can be read"
    yield from found


CASES = [case for path in sorted(Path(__file__).with_name("passes").glob("*.txt")) for case in _read(path)]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.run}: {case.what}" for case in CASES])
def test_pass(case: Case) -> None:
    unit = parse_unit(HEAD + case.before)
    check(unit)
    dict(PASSES_MID)[case.run](unit, TARGET)
    check(unit)
    assert format_unit(unit) == HEAD + case.after


def test_every_pass_has_a_case() -> None:
    assert {run for _, run in PASSES_MID} == {dict(PASSES_MID)[case.run] for case in CASES}
