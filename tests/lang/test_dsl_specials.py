"""The rarer maps in probes: bloom filters, maps of maps, tail calls, task storage, tries."""

from __future__ import annotations

import ipaddress
import os

import pytest

from pybpf.compiler import compile_unit
from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.lang.state.maps import Array, Hash, Lpm
from pybpf.lang.state.specials import ArrayOfMaps, Bloom, HashOfMaps, Jumps, TaskStorage
from pybpf.maps import Ipv4Prefix
from pybpf.prog import Program
from pybpf.types import Struct, u32, u64
from tests.lang import harness
from tests.lang.sharing import Shared

shared = Shared()
counts = shared.counts


class Seen(Struct):
    times: u64
    last: u32


shape = Hash(u32, u64, 4, counts, "shape")
row = Array(u32, 3, counts, "row")
seen = Bloom(u32, 100, counts, name="seen")
tenants = HashOfMaps(u32, shape, counts, 10, "tenants")
rows = ArrayOfMaps(row, 2, counts, "rows")
jumps = Jumps(3, counts, "jumps")
marks = Array(u64, 2, counts, "marks")
tasks = TaskStorage(Seen, counts, "tasks")
routes = Lpm(Ipv4Prefix, u32, counts=counts, max_entries=10, name="routes")


@pytest.mark.root
@pytest.mark.needs("bloom_filter")
def test_bloom_filter() -> None:
    def probe(value: u32, add: u32) -> u64:
        if add:
            seen.add(value)
        return value in seen

    with shared.load(probe, seen) as run:
        assert sum(run(value, 0) for value in range(20)) == 0
        assert run(7, 1) == 1
        assert run(7, 0) == 1
        seen.add(9)
        assert run(9, 0) == 1
        assert 7 in seen


@pytest.mark.root
def test_a_map_that_is_also_inside_of_another() -> None:
    def probe() -> u64:
        before = shape[1]
        found = tenants[1]
        if found is None:
            return 1000
        found[1] = 5
        between = shape[1]
        del found[1]
        return before * 100 + between * 10 + shape[1]

    with shared.load(probe, shape, tenants) as run:
        tenants[1] = shape
        assert run() == 50


@pytest.mark.root
def test_maps_of_maps() -> None:
    def probe(tenant: u32, key: u32) -> u64:
        found = tenants[tenant]
        if found is None:
            return 1000
        found[key] += 1
        found[key + 1] = 5
        taken = found.pop(key + 1)
        if taken is None or key + 1 in found:
            return 2000
        numbers = rows.get(1)
        if numbers:
            numbers[2] += key
        return found[key] * 10 + taken

    one, two = shape.spec.create(), shape.spec.create()
    numbers = row.spec.create()
    with one, two, numbers, shared.load(probe, tenants, rows) as run:
        tenants[1], tenants[2] = one, two
        rows[1] = numbers
        assert run(3, 1) == 1000
        assert [run(1, 7), run(1, 7), run(2, 7)] == [15, 25, 15]
        assert dict(one.items()) == {7: 2}  # type: ignore[attr-defined]
        assert dict(two.items()) == {7: 1}  # type: ignore[attr-defined]
        assert numbers[2] == 21  # type: ignore[index]


@pytest.mark.root
def test_tail_calls() -> None:
    def probe(index: u32) -> u64:
        marks[0] = 1
        jumps.to(index)
        marks[0] = 2
        return 3

    def target(index: u32) -> u64:
        marks[1] = 5
        return 4

    host = Target.host()
    with shared.load(probe, jumps, marks) as run:
        made = compile_unit(harness.compiled(target, host), host)
        with Program.load(made.spec, {**run.maps, "marks": marks.map}) as program:
            jumps[1] = program
            assert run(0) == 3
            assert list(marks.values()) == [2, 0]
            assert run(1) == 4
            assert list(marks.values()) == [1, 5]
            del jumps[1]
            assert run(1) == 3


def test_no_tail_call_leaves_an_iterator_behind() -> None:
    def probe(index: u32) -> u64:
        for turn in range(100_000):
            if turn == index:
                jumps.to(0)
        return 0

    def short(index: u32) -> u64:
        for turn in range(100):
            if turn == index:
                jumps.to(0)
        return 0

    newest = Target.described("6.12")
    with pytest.raises(CompileError) as raised:
        harness.compiled(probe, newest)
    assert raised.value.message == (
        "jumps.to() in a 'with' or in a loop of many turns would leave what these must end: jump behind it, as by a "
        "'break' before"
    )
    assert raised.value.text.strip() == "jumps.to(0)"
    harness.compiled(short, newest)


@pytest.mark.root
@pytest.mark.needs("task_storage")
def test_task_storage() -> None:
    def probe(value: u32) -> u64:
        mine = tasks.current()
        if mine is None:
            return 99
        mine.times += 1
        mine.last = value
        if value == 9:
            tasks.drop_current()
        return mine.times

    def other(value: u32) -> u64:
        return tasks.current().times

    try:
        with shared.load(probe, tasks) as run:
            assert [run(5), run(6)] == [1, 2]
            pidfd = os.pidfd_open(os.getpid())
            try:
                assert tasks[pidfd] == Seen(2, 6)
                run(9)
                with pytest.raises(KeyError):
                    tasks[pidfd]
            finally:
                os.close(pidfd)
    except CompileError as error:  # raw tracepoints may not before Linux 5.18
        assert "use a hash with tid()" in str(error)
        return
    with pytest.raises(CompileError, match="may give None"):
        harness.compiled(other)


@pytest.mark.root
def test_longest_prefix() -> None:
    def probe(address: u32) -> u64:
        key = Ipv4Prefix(bits=32)
        key.address[0] = address >> 24
        key.address[1] = (address >> 16) & 255
        key.address[3] = address & 255
        return routes.get(key, 0)

    with shared.load(probe, routes) as run:
        routes[ipaddress.ip_network("10.0.0.0/8")] = 1
        routes[ipaddress.ip_network("10.1.0.0/16")] = 2
        found = [run(int(ipaddress.ip_address(each))) for each in ("10.1.0.7", "10.2.0.7", "11.0.0.1")]
        assert found == [2, 1, 0]
