"""The reference probes compile to what their golden files have, wherever that is done."""

from __future__ import annotations

import pytest

from tests.compiler.golden import GOLDEN, golden_text

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden(name: str) -> None:
    """On purpose? ``python -m tests.compiler.golden`` writes the files anew."""
    assert golden_text(name) == GOLDEN[name].read_text()


def test_no_file_is_left_over() -> None:
    path = next(iter(GOLDEN.values())).parent
    assert sorted(path.iterdir()) == sorted(GOLDEN.values())
