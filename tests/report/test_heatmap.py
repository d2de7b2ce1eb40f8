"""Heat maps: every count is in its cell, whatever is counted, and nothing of it can break the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.report import HeatMap, LinearHistogram, Log2Histogram
from pybpf.report.heatmap import LEFT, MOST_COLUMNS, ROW, WIDTH

pytestmark = pytest.mark.pure

NOON = 1_700_000_000.0
CELL = re.compile(r"(\S+) to (\S+), (.*): ([\d,]+) of ([\d,]+) \([\d.]+%\)")


class Page(HTMLParser):
    """The cells of each map, as (attributes of the rectangle, what it says), and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.maps: list[list[dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "tags are not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert not {"src", "href"} & set(found), "it loads something"
        if tag == "svg":
            self.maps.append([])
        if "data-text" in found:
            self.maps[-1].append(found)
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "data-text" in dict(attrs):
            self.maps[-1].append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def log2(values: list[int]) -> Log2Histogram:
    counts: dict[int, int] = {}
    for value in values:
        bucket = Log2Histogram({}).bucket_of(value)
        counts[bucket] = counts.get(bucket, 0) + 1
    return Log2Histogram(counts)


def says(cell: dict[str, str | None]) -> list[str]:
    match = CELL.fullmatch(cell["data-text"] or "")
    assert match
    return list(match.groups())


def test_cells_are_where_they_belong() -> None:
    heat = HeatMap("biolatency: <b>&", "usecs")
    heat.add(NOON, NOON + 1, {"": log2([1500, 1500, 3])})
    heat.add(NOON + 1, NOON + 2, {"": log2([])})
    heat.add(NOON + 2, NOON + 3, {"": log2([1500])})
    page = Page(heat.html())
    (cells,) = page.maps
    assert [says(cell)[2:] for cell in cells] == [
        ["2 µs to 4 µs", "1", "3"], ["1.02 ms to 2.05 ms", "2", "3"], ["1.02 ms to 2.05 ms", "1", "1"],
    ]  # fmt: skip
    x, y = ([float(cell[axis] or 0) for cell in cells] for axis in "xy")
    assert x[0] == x[1] == LEFT and x[2] == LEFT + 2 * float(cells[0]["width"] or 0)
    assert y[1] == y[2] == y[0] - 9 * ROW  # nine buckets higher
    assert cells[0]["class"] != cells[1]["class"]
    assert "biolatency: <b>&" in page.text and "4 values from" in "".join(page.text)


def test_a_map_for_each_thing_and_none_for_nothing() -> None:
    heat = HeatMap("t", "bytes")
    heat.add(
        NOON,
        NOON + 0.25,
        {"disk = <x>\x1b[31m": log2([0]), "b": LinearHistogram({1: 2, 11: 1}, 0, 100, 10), "n": log2([])},
    )
    heat.add(NOON + 0.25, NOON + 0.5, {"b": LinearHistogram({0: 3}, 0, 100, 10)})
    page = Page(heat.html())
    linear, other = page.maps
    assert [says(cell)[2:4] for cell in linear] == [
        ["0 to 10 bytes", "2"], ["100 and more bytes", "1"], ["less than 0 bytes", "3"],
    ]  # fmt: skip
    assert [says(cell)[2:4] for cell in other] == [["0 bytes", "1"]]
    assert "disk = <x>\\x1b[31m" in page.text
    assert not Page(HeatMap("t", "").html()).maps and "Nothing was counted" in HeatMap("t", "").html()


@given(
    st.lists(st.lists(st.integers(-5, 2**64 - 1), max_size=4), min_size=1, max_size=8),
    st.sampled_from(["nsecs", "secs", "", "pages"]),
    st.sampled_from([1e-3, 1.0, 3600.0]),
)
def test_nothing_is_lost(intervals: list[list[int]], unit: str, seconds: float) -> None:
    heat = HeatMap("t", unit)
    for number, values in enumerate(intervals):
        heat.add(NOON + number * seconds, NOON + (number + 1) * seconds, {"": log2(values)})
    page = Page(heat.html())
    found = [int(says(cell)[3].replace(",", "")) for cells in page.maps for cell in cells]
    assert sum(found) == sum(map(len, intervals))


def test_long_runs_are_joined() -> None:
    heat = HeatMap("t", "usecs")
    for number in range(3 * MOST_COLUMNS + 1):
        heat.add(NOON + number, NOON + number + 1, {"": log2([number])})
    (cells,) = Page(heat.html()).maps
    assert sum(int(says(cell)[3].replace(",", "")) for cell in cells) == 3 * MOST_COLUMNS + 1
    assert len({cell["x"] for cell in cells}) <= MOST_COLUMNS
    assert all(LEFT <= float(cell["x"] or 0) <= WIDTH - float(cell["width"] or 0) for cell in cells)
