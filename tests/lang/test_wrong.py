"""Each wrong probe of refused/*.txt is refused with exactly the message that stands there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lang.wrong import CASES, Case, message_of, read_cases

pytestmark = pytest.mark.pure

ALL = [
    case for path in sorted(CASES.glob("*.txt")) for case in read_cases(path) if sys.version_info >= case.since
]  # others cannot be parsed


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.title)
def test_message(case: Case, tmp_path: Path) -> None:
    assert message_of(case.source, tmp_path / "probe.py") == case.message


def test_titles_tell_cases_apart() -> None:
    assert len({case.title for case in ALL}) == len(ALL) >= 300
    assert all(case.message for case in ALL)


#: says what there is, or what is taken, instead of what to write
SAYS = (": ", "; ", ", not ", " has elements ", " takes ", " is called as ", " is for ", " has fields ", " but ")


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.title)
def test_messages_say_what_to_write(case: Case) -> None:
    message = case.message.partition("\n")[0]
    said = message.split(": ", 1)[1] if message.startswith("probe.py:") else message
    assert any(each in said for each in SAYS), said


#: what is sure to be there, in other words
CHECKED = [
    """pair = pairs.get(1)
if pair is not None and pair.first:
    pair.second += 1""",
    """pair = pairs.get(1)
if pair is None or pair.first == 2:
    return
counts[1] = pair.first""",
    """pair = pairs.get(1)
if not pair:
    return
counts[1] = pair.first""",
    """while (pair := pairs.pop(1)) is not None:
    counts[1] += pair.first
    if pair.first > 3:
        break""",
    """pair = pairs.get(1)
if pair is None:
    pairs[1] = Pair()
    pair = pairs.get(1)
    if pair is None:
        return
pair.second += 1""",
    """pair = pairs.get(1)
for i in range(args.flags):
    if pair is not None:
        pair.second += i""",
    """pair = pairs.get(1)
if pair is None:
    return
for i in range(args.flags):
    pair.second += i
other = pair
other.first = 3""",
    """pair = pairs.get(1)
counts[1] = pair.first if pair is not None else 3
counts[2] = 4 if pair is None else pair.first""",
    """pair = pairs.get(1)
if (pair is None) or (not (pair.first > 3)):
    return
counts[1] = pair.first""",
    """pair = pairs.get(1) or pairs.get(2)
if pair:
    counts[1] = pair.first""",
]  # fmt: skip


@pytest.mark.parametrize("body", CHECKED, ids=range(len(CHECKED)))
def test_values_that_were_compared_with_none(body: str, tmp_path: Path) -> None:
    source = "def probe(args):\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    assert message_of(source, tmp_path / "probe.py") == ""
