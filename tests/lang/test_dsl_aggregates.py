"""Aggregates of probes: each way, with keys and without, compared with Python doing the same."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pybpf.errors import BpfError
from pybpf.lang.state.aggregates import HistogramMap, Tally
from pybpf.report import Histogram, LinearHistogram, Log2Histogram, Stats
from pybpf.types import char, s64, u8, u16, u32, u64
from tests.lang.sharing import Shared

shared = Shared()
counts = shared.counts
LINEAR = LinearHistogram({}, -10, 1000, 7)

count = Tally("count", counts, name="count")
total = Tally("sum", counts, name="total")
least = Tally("min", counts, name="least")
most = Tally("max", counts, name="most")
mean = Tally("avg", counts, name="mean")
stats = Tally("stats", counts, name="stats")
wide = Tally("max", counts, kind=u64, name="wide")
by_name = Tally("count", counts, key=(char[16], u16), name="by_name")
stats_by = Tally("stats", counts, key=u32, name="stats_by")
full = Tally("count", counts, key=u32, max_entries=2, name="full")
log2 = HistogramMap(Log2Histogram({}), counts, name="log2")
fine = HistogramMap(Log2Histogram({}, 3), counts, name="fine")
linear = HistogramMap(LINEAR, counts, name="linear")
log2_by = HistogramMap(Log2Histogram({}), counts, key=char[8], name="log2_by")
turned = Tally("count", counts, key=(u32, char[16]), max_entries=2, name="turned", double_buffered=True)
turned_least = Tally("min", counts, key=u32, max_entries=4, name="turned_least", double_buffered=True)
turned_log2 = HistogramMap(Log2Histogram({}), counts, key=u32, max_entries=4, name="turned_log2", double_buffered=True)
of_u64 = HistogramMap(Log2Histogram({}, 5), counts, name="of_u64")
of_u8 = HistogramMap(Log2Histogram({}), counts, name="of_u8")


def counted(shape: Histogram, values: list[int]) -> dict[int, int]:
    """The counts of a histogram of ``values``."""
    buckets = [shape.bucket_of(value) for value in values]
    return {bucket: buckets.count(bucket) for bucket in buckets}


@pytest.mark.root
def test_every_way() -> None:
    def probe(value: s64) -> None:
        count.add()
        total.add(value)
        least.add(value)
        most.add(value)
        mean.add(value)
        stats.add(value)
        wide.add(value)

    parts = (count, total, least, most, mean, stats, wide)
    values = [5, -70, 5, 1 << 40, -3]
    with shared.load(probe, *parts) as run:
        assert [each.value for each in parts] == [0, 0, None, None, 0, Stats(0, 0), None]
        for value in values:
            run(value)
        assert count.value == 5
        assert total.value == sum(values)
        assert (least.value, most.value) == (-70, 1 << 40)
        assert mean.value == sum(values) // 5
        assert stats.value == Stats(5, sum(values), -70, 1 << 40)
        assert wide.value == (1 << 64) - 3
        assert str(stats) == f"@stats: count 5, average {sum(values) // 5}, total {sum(values)}"
        count.clear()
        assert count.value == 0


@pytest.mark.root
def test_without_keys_each_is_shown_by_its_name() -> None:
    def probe(value: s64) -> None:
        count.add()
        least.add(value)
        stats.add(value)
        log2.add(value)

    with shared.load(probe, count, least, stats, log2) as run:
        for value in (5, 7):
            run(value)
        assert (str(count), count.text("bcc")) == ("@count: 2", "2")
        assert str(least) == "@least: 5"
        assert str(stats) == f"@stats: {stats.value}"
        assert str(log2) == f"@log2:\n{log2.value.text()}\n"
        assert log2.text("bcc", "usecs") == log2.value.text("bcc", "usecs")


@pytest.mark.root
def test_keys() -> None:
    def probe(key: u32, value: s64) -> None:
        by_name["nginx", key].add()
        by_name["nginx", 1] += 10
        stats_by[key].add(value)
        full[key].add(value=2)

    with shared.load(probe, by_name, stats_by, full) as run:
        for key, value in ((1, 5), (2, -5), (3, 7), (1, 6)):
            run(key, value)
        assert dict(by_name.items()) == {("nginx", 1): 42, ("nginx", 2): 1, ("nginx", 3): 1}
        assert by_name["nginx", 1] == 42
        assert by_name.get(("x", 1)) is None
        assert dict(stats_by.items()) == {1: Stats(2, 11, 5, 6), 2: Stats(1, -5, -5, -5), 3: Stats(1, 7, 7, 7)}
        assert dict(full.items()) == {1: 4, 2: 2}
        assert full.dropped == 1
        assert str(by_name).splitlines()[-1] == "@by_name[nginx, 1]: 42"
        assert sorted(stats_by) == [1, 2, 3]
        assert len(stats_by) == 3


@pytest.mark.root
def test_changes_are_what_was_added_in_between() -> None:
    def probe(key: u32, value: s64) -> None:
        by_name["nginx", key].add()
        stats_by[key].add(value)
        log2_by["all"].add(value)
        total.add(value)

    with shared.load(probe, by_name, stats_by, log2_by, total) as run:
        run(1, 5)
        run(2, 9)
        assert by_name.changes() == {("nginx", 1): 1, ("nginx", 2): 1}
        assert stats_by.changes() == {1: Stats(1, 5, 5, 5), 2: Stats(1, 9, 9, 9)}
        assert log2_by.changes() == {"all": Log2Histogram(counted(Log2Histogram({}), [5, 9]))}
        assert total.changes() == 14
        run(1, 6)
        run(3, 0)
        assert by_name.changes() == {("nginx", 1): 1, ("nginx", 3): 1}
        assert stats_by.changes() == {1: Stats(1, 6), 3: Stats(1, 0, 0, 0)}
        assert {bucket: n for bucket, n in log2_by.changes()["all"].counts.items() if n} == counted(
            Log2Histogram({}), [6, 0]
        )
        assert (total.changes(), total.changes()) == (6, 0)
        assert by_name.changes() == {}
        assert by_name["nginx", 1] == 2  # nothing was cleared
        for part, key in ((by_name, ("nginx", 1)), (stats_by, 1), (log2_by, "all")):
            part.forget(key)
            part.forget(key)  # does nothing
            assert key not in dict(part.items())
        run(1, 7)
        assert by_name.changes() == {("nginx", 1): 1}
        assert stats_by.changes() == {1: Stats(1, 7, 7, 7)}
        stats_by.clear()
        run(1, 8)
        assert stats_by.changes() == {1: Stats(1, 8, 8, 8)}


@pytest.mark.root
@pytest.mark.parametrize("without", [(), ("map_value",)])
def test_double_buffered_aggregates_have_room_after_each_reading(without: tuple[str, ...]) -> None:
    def probe(key: u32, value: s64) -> None:
        turned[key, "nginx"].add()
        turned_least[key].add(value)
        turned_log2[key].add(value)

    with shared.load(probe, turned, turned_least, turned_log2, without=without) as run:
        for first in range(0, 10, 2):
            for key in (first, first + 1, first):
                run(key, 100 * key - 5)
            assert turned[first, "nginx"] == len(turned) == 2
            turned.forget((first, "nginx"))
            turned.forget((first + 2, "nginx"))  # does nothing
            run(first, 1 << 40)
            assert turned.changes() == {(first, "nginx"): 1, (first + 1, "nginx"): 1}
            assert turned_least.changes() == {first: 100 * first - 5, first + 1: 100 * first + 95}
            assert {key: each.count for key, each in turned_log2.changes().items()} == {first: 3, first + 1: 1}
            assert dict(turned.items()) == dict(turned_log2.items()) == turned.changes() == {}
        assert (turned.dropped, turned_least.dropped, turned_log2.dropped) == (0, 0, 0)
        run(7, 1)
        turned.clear()
        assert turned.changes() == {}


@pytest.mark.root
def test_double_buffered_aggregates_lose_nothing_while_cpus_add() -> None:
    def probe(first: u32) -> None:
        for key in range(500):
            passed[first + key].add(key)

    passed = Tally("stats", counts, key=u32, max_entries=4000, name="passed", double_buffered=True)
    found: dict[int, Stats] = {}

    def take() -> None:
        for key, added in passed.changes().items():
            found[key] = found[key] + added if key in found else added

    with shared.load(probe, passed) as run:
        workers = [threading.Thread(target=lambda: [run(first) for first in range(400)]) for _ in range(3)]
        for each in workers:
            each.start()
        while any(each.is_alive() for each in workers):
            take()
        take()
        assert passed.dropped == 0
    assert sum(each.count for each in found.values()) == 3 * 400 * 500
    assert {key: each.total for key, each in found.items()} == {
        key: 3 * sum(range(max(0, key - 399), min(key, 499) + 1)) for key in range(899)
    }


@pytest.mark.root
def test_json() -> None:
    def probe(value: s64) -> None:
        total.add(value)
        by_name["nginx", 2].add()
        stats_by[3].add(value)

    with shared.load(probe, total, by_name, stats_by) as run:
        run(7)
        assert repr(next(iter(dict(by_name.items())))) == "('nginx', 2)"
        parts = {"total": total.to_json(), "by_name": by_name.to_json(), "stats_by": stats_by.to_json()}
    assert json.loads(json.dumps(parts)) == {
        "total": 7,
        "by_name": [{"key": ["nginx", 2], "value": 1}],
        "stats_by": [{"key": 3, "value": Stats(1, 7, 7, 7).to_dict()}],
    }


def test_changes_that_nobody_knows() -> None:
    for part in (least, most, mean):
        with pytest.raises(TypeError, match=r"by tracer\.stats"):
            part.changes()
    with pytest.raises(TypeError, match="has no keys"):
        total.forget(1)
    with pytest.raises(TypeError, match="double_buffered makes room for other keys: give key="):
        Tally("count", counts, double_buffered=True)


@pytest.mark.root
def test_buckets_are_those_of_the_report() -> None:
    def probe(value: s64) -> None:
        log2.add(value)
        fine.add(value)
        linear.add(value)
        of_u64.add(u64(value))
        of_u8.add(u8(value))

    edges = [0, 1, 2, 3, *(n for k in range(2, 63) for n in ((1 << k) - 1, 1 << k, (1 << k) + 1))]
    edges += [-1, -2, -(1 << 63), (1 << 63) - 1, -10, -11, 999, 1000, 1001, 996, 997]

    with shared.load(probe, log2, fine, linear, of_u64, of_u8) as run:

        @settings(
            max_examples=min(60, settings.default.max_examples), deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.lists(st.sampled_from(edges) | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-50, 1100)))
        def same(values: list[int]) -> None:
            for part in (log2, fine, linear, of_u64, of_u8):
                part.clear()
            for value in values:
                run(value)
            assert log2.value.counts == counted(Log2Histogram({}), values)
            assert fine.value.counts == counted(Log2Histogram({}, 3), values)
            assert linear.value.counts == counted(LINEAR, values)
            assert of_u64.value.counts == counted(Log2Histogram({}, 5), [value % (1 << 64) for value in values])
            assert of_u8.value.counts == counted(Log2Histogram({}), [value % 256 for value in values])

        same()
        for part in (log2, fine, linear):
            part.clear()
        for value in edges:
            run(value)
        assert log2.value.counts == counted(Log2Histogram({}), edges)
        assert fine.value.counts == counted(Log2Histogram({}, 3), edges)
        assert linear.value.counts == counted(LINEAR, edges)


@pytest.mark.root
def test_histograms_by_key() -> None:
    def probe(value: u64) -> None:
        if value & 1:
            log2_by["odd"].add(value)
        else:
            log2_by["even"].add(value)

    with shared.load(probe, log2_by) as run:
        for value in range(10):
            run(value)
        assert log2_by["odd"].counts == counted(Log2Histogram({}), [1, 3, 5, 7, 9])
        assert {key: each.count for key, each in log2_by.items()} == {"odd": 5, "even": 5}
        assert log2_by.get("none") is None
        assert "@log2_by[odd]:\n[1]" in str(log2_by)


@pytest.mark.root
def test_counts_of_many_threads_are_exact() -> None:
    def probe(value: u64) -> None:
        count.add()
        log2.add(value)
        by_name["x", 1].add(value)

    with shared.load(probe, count, log2, by_name) as run:
        workers = [threading.Thread(target=lambda: [run(number) for number in range(1000)]) for _ in range(4)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        assert count.value == 4000
        assert log2.value.counts == counted(Log2Histogram({}), 4 * list(range(1000)))
        assert by_name["x", 1] == 4 * sum(range(1000))


def test_wrong_uses_in_python() -> None:
    with pytest.raises(ValueError, match="a way to aggregate is count, sum"):
        Tally("median", counts)
    with pytest.raises(TypeError, match="values are kept as u64 or s64"):
        Tally("sum", counts, kind=u32)
    with pytest.raises(TypeError, match=r"the map 'by_name' has keys: read x\[key\] or x.items"):
        by_name.value  # noqa: B018
    with pytest.raises(TypeError, match=r"the map 'count' has no keys: read x\.value"):
        count[1]
    with pytest.raises(BpfError, match=r"add\(\) works only in a probe"):
        count.add()
