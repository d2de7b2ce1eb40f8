"""Shell patterns as they are tried in probes, compared with fnmatch."""

from __future__ import annotations

import random
from fnmatch import fnmatchcase

import pytest

from pybpf.tool import Glob

pytestmark = pytest.mark.pure


def test_nothing_that_matches_is_left_in_the_kernel() -> None:
    rng = random.Random(1)
    matched = 0
    for _ in range(20000):
        pattern = "".join(rng.choices("ab]![*?-", k=rng.randrange(7)))
        text = "".join(rng.choices("ab]![-", k=rng.randrange(5)))
        glob = Glob(pattern, 16)
        assert glob.matches(text) == fnmatchcase(text, pattern)
        if glob.matches(text):
            matched += 1
            assert glob.may(text) and glob.may_begin(text), (pattern, text)
    assert matched > 500


def test_what_is_longer_than_any_text_matches_none() -> None:
    assert not Glob("*" + "a" * 16, 16).may("a") and Glob("a" * 15, 16).may("a" * 15)
    assert Glob("a" * 100, 16).may_begin("a" * 80) and not Glob("b" * 100, 16).may_begin("a" * 80)
    assert Glob(None, 16).may("x") and Glob(None, 16).may_begin("x") and Glob(None, 16).matches("x")
