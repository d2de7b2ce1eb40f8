"""Each wrong probe of refused/*.txt is refused with exactly the message that stands there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lang.wrong import CASES, Case, message_of, read_cases

ALL = [case for path in sorted(CASES.glob("*.txt")) for case in read_cases(path)]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.title)
def test_message(case: Case, tmp_path: Path) -> None:
    if sys.version_info < case.since:
        pytest.skip(f"Python {case.since[0]}.{case.since[1]} can parse it")
    assert message_of(case.source, tmp_path / "probe.py") == case.message


def test_titles_tell_cases_apart() -> None:
    assert len({case.title for case in ALL}) == len(ALL) >= 300
