"""Series by time: the graph, the list for JSON."""

from __future__ import annotations

import pytest

from pybpf.report import TimeSeries

pytestmark = pytest.mark.pure
MS = 10**6


def rows(series: TimeSeries) -> list[str]:
    """The graph, the hour and minute left out, which depend on the time zone."""
    return [line[5:] for line in series.text().splitlines()]


def test_graph() -> None:
    line = "_" * 51
    assert rows(TimeSeries(100 * MS, ((0, -5), (100 * MS, 0), (200 * MS, None), (300 * MS, 5)))) == [
        f"{'':8}-5{'':50}5",
        f":ss.ms  |{line}|",
        f":00.000 *{'':25}.{'':25}| -5",
        f":00.100 |{'':25}*{'':25}| 0",
        f":00.200 |{'':25}.{'':25}| -",
        f":00.300 |{'':25}.{'':25}* 5",
        f"{'':8}v{line}v",
        f"{'':8}-5{'':50}5",
    ]


def test_one_value_is_in_the_middle() -> None:
    found = rows(TimeSeries(2 * 10**9, ((4 * 10**9, 7),)))
    assert found[0].split() == ["6", "8"]
    assert found[2] == f":04 |{'':25}*{'':25}| 7"


@pytest.mark.parametrize(("interval", "header"), [(1500 * MS, "ss.ms"), (10, "ss.ns"), (5000, "ss.us"), (10**9, "ss ")])
def test_digits_follow_from_the_interval(interval: int, header: str) -> None:
    assert header in TimeSeries(interval, ((0, 1),)).text()


def test_empty() -> None:
    assert str(TimeSeries(1, ())) == "<no data>"
    assert TimeSeries(1, ((5, None), (6, 3))).to_list() == [
        {"interval_start": TimeSeries(1, ((6, 3),)).to_list()[0]["interval_start"], "value": 3}
    ]
    assert str(TimeSeries(1, ((6, 3),)).to_list()[0]["interval_start"]).endswith(":00.000000006")
