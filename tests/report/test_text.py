"""Text from traced programs cannot drive the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.report import printable, table

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("naïve 日本", "naïve 日本"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("back\\slash", "back\\\\slash"),
        (b"\xff\xfe".decode("utf-8", "surrogateescape"), "\\xff\\xfe"),
        ("right\u202eleft\u200b", "right\\u202eleft\\u200b"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_drives_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.binary(max_size=64))
def test_nothing_unprintable_is_left_and_bytes_can_be_told_apart(data: bytes) -> None:
    shown = printable(data.decode("utf-8", "surrogateescape"))
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_two_names_are_never_shown_alike(one: bytes, other: bytes) -> None:
    def show(data: bytes) -> str:
        return printable(data.decode("utf-8", "surrogateescape"))

    assert (show(one) == show(other)) == (one == other)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(["ID", "NAME", "WHAT"], [[1, "a", "x"], [100, "longer", ""]])
    assert text.splitlines() == [" ID  NAME    WHAT", "  1  a       x", "100  longer"]


def test_a_table_without_rows_is_its_header() -> None:
    assert table(["A", "B"], []) == "A  B"
