"""Statistics, and whole maps, as bpftrace and BCC print them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest

from pybpf.errors import PackError
from pybpf.report import LinearHistogram, Log2Histogram, Stats, in_order, key_text, keyed

pytestmark = pytest.mark.pure

BAR = "@" * 52
STARS = "*" * 40


class Family(IntEnum):
    INET = 2


@pytest.mark.parametrize(
    ("stats", "text"),
    [
        (Stats(3, 6, 1, 3), "count 3, average 2, total 6"),
        (Stats(3, -13, -20, 5), "count 3, average -4, total -13"),  # as bpftrace printed them: towards zero
        (Stats(0, 0), "count 0, average 0, total 0"),
        (Stats(1, 2**63), "count 1, average 9223372036854775808, total 9223372036854775808"),
    ],
)
def test_stats_as_bpftrace(stats: Stats, text: str) -> None:
    assert str(stats) == text


def test_stats_merge() -> None:
    one, two, none = Stats(2, 10, 3, 7), Stats(1, -1, -1, -1), Stats(0, 0)
    assert one + two == Stats(3, 9, -1, 7)
    assert one + none == none + one == one
    assert one + Stats(1, 4) == Stats(3, 14)
    assert (one + two) - one == Stats(1, -1)
    with pytest.raises(ValueError, match="1 values are fewer than the 2 of before"):
        two - one
    assert one.to_dict() == {"count": 2, "total": 10, "min": 3, "max": 7, "average": 5}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (5, "5"),
        ("bash", "bash"),
        (b"ba\xffsh", "ba\\xffsh"),
        ((1, "abc", (2, b"x")), "1, abc, 2, x"),
        (Family.INET, "INET"),
        ("\x1b[31m\n", "\\x1b[31m\\n"),
    ],
)
def test_key_text(key: object, text: str) -> None:
    assert key_text(key) == text


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"a": 3, "b": 1, "c": 2}, ["b", "c", "a"]),
        ({"c": 1, "b": 1, "a": 1}, ["a", "b", "c"]),
        ({1: "z", -5: "y", 0: "x"}, [-5, 0, 1]),
        ({(10, "a"): "x", (9, "b"): "x", (9, "a"): "y"}, [(9, "a"), (9, "b"), (10, "a")]),
        ({1: "x", "a": "y"}, [1, "a"]),
        ({"q": Stats(3, 6), "z": Stats(1, 3)}, ["q", "z"]),  # by average, not by total
        ({"a": Log2Histogram({3: 9}), "b": Log2Histogram({60: 2})}, ["b", "a"]),
        ({}, []),
    ],
)
def test_order_is_that_of_bpftrace(values: dict[Any, Any], keys: list[object]) -> None:
    assert [key for key, _ in in_order(values)] == keys


def test_numbers_as_bpftrace() -> None:
    assert keyed({"x": 2, "y": 1}, "c") == "@c[y]: 1\n@c[x]: 2"
    assert keyed({(1, "abc"): Stats(3, 6)}, "s") == "@s[1, abc]: count 3, average 2, total 6"
    assert keyed({1: "a\nb"}) == "@[1]: a\\nb"
    assert keyed({}) == ""


def test_histograms_as_bpftrace() -> None:
    values = {("b", 2): Log2Histogram({5: 2}), ("a", 1): Log2Histogram({4: 1})}
    expected = f"@h[a, 1]:\n[4, 8)                 1 |{BAR}|\n\n@h[b, 2]:\n[8, 16)                2 |{BAR}|\n"
    assert keyed(values, "h") == expected


def test_histograms_as_bcc() -> None:
    values = {"sdb": Log2Histogram({2: 2}), "sda\x07": Log2Histogram({2: 1})}
    row = "         0 -> 1          : {}        |" + STARS + "|"
    head = "     usecs               : count     distribution"
    expected = f"\ndisk = sda\\x07\n{head}\n{row.format(1)}\n\ndisk = sdb\n{head}\n{row.format(2)}"
    assert keyed(values, "disk", "bcc", "usecs") == expected


def test_other_values_as_bcc() -> None:
    assert keyed({"a": 5, "b": 12}, "comm", "bcc") == "\t5          comm = a\n\t12         comm = b"
    linear = keyed({1: LinearHistogram({1: 1}, 0, 2, 1)}, style="bcc", show=lambda key: f"<{key}>")
    assert linear.splitlines()[1] == "bucket = <1>"


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(PackError, match="a style is"):
        keyed({}, style="perf")
