"""The table of functions: every row is complete, documented, and says how often it can be called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pybpf.bt.functions.function import Function
from pybpf.bt.functions.table import FUNCTIONS, METHODS, REFUSED

pytestmark = pytest.mark.pure

ROWS = [*FUNCTIONS.values(), *METHODS.values()]
PAGE = (Path(__file__).parent.parent.parent / "docs/bpftrace.md").read_text()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_complete(row: Function) -> None:
    assert row.text and not row.text.endswith(".")
    assert row.signature.startswith(f"{row.name}(") and row.signature.endswith(")")
    assert row.most is None or row.least <= row.most


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda row: row.name)
def test_row_is_documented(row: Function) -> None:
    if row.name[:3] == "arg" and row.name[3:].isdigit():
        return
    assert f"`{row.signature}`" in PAGE


def test_page_knows_no_other() -> None:
    table = PAGE.partition("## Builtins and functions")[2].partition("## For developers")[0]
    assert set(re.findall(r"`(\w+)\(", table)) <= FUNCTIONS.keys()


def test_what_is_refused_is_not_there() -> None:
    assert not REFUSED.keys() & FUNCTIONS.keys()
