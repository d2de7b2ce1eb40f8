"""Per-CPU maps against the running kernel: lists, reducers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybpf.errors import KernelError, PackError
from pybpf.maps import LruPerCpuHash, PerCpuArray, PerCpuHash, PerfEventArray
from pybpf.maps.percpu import reducer
from pybpf.sys import cpus
from pybpf.sys.bpf import Cmd
from pybpf.sys.cpus import num_possible_cpus
from pybpf.types import Struct, char, layout, u8, u32, u64

pytestmark = [pytest.mark.root, pytest.mark.generic]

CPUS = num_possible_cpus()


class Stat(Struct):
    count: u32
    longest: u64
    levels: u32[3]


class Named(Struct):
    count: u64
    comm: char[8]


@pytest.fixture(params=["batches", "one by one"])
def table(request: pytest.FixtureRequest) -> Iterator[PerCpuHash]:
    with PerCpuHash(u32, u32, max_entries=300, name="table") as found:
        if request.param == "one by one":
            commands = (Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_LOOKUP_AND_DELETE_BATCH, Cmd.MAP_UPDATE_BATCH)
            found._batches.update(dict.fromkeys(commands, False))
            found._can_take = False
        yield found


def test_lists(table: PerCpuHash) -> None:
    one = [3 * cpu + 1 for cpu in range(CPUS)]
    table[5] = one
    assert table[5] == one
    assert table.sum(5) == sum(one)
    assert table.pop(5) == one
    with pytest.raises(KeyError):
        table.sum(5)


def test_whole_table(table: PerCpuHash) -> None:
    model = {key: [key + cpu for cpu in range(CPUS)] for key in range(300)}
    table.update(model)
    assert dict(table.items()) == model
    assert dict(table.items(reduce=sum)) == {key: sum(value) for key, value in model.items()}
    assert dict(table.items(reduce=max)) == {key: key + CPUS - 1 for key in model}
    assert sorted(table.values(reduce=len)) == [CPUS] * 300
    assert sorted(table.values()) == sorted(model.values())
    with pytest.raises(KernelError, match="LruPerCpuHash"):
        table[300] = [1] * CPUS
    assert dict(table.drain(reduce=sum)) == {key: sum(value) for key, value in model.items()}
    assert len(table) == 0


def test_wrong_values(table: PerCpuHash) -> None:
    for wrong in (1, [1] * (CPUS + 1), [1] * (CPUS - 1), "a" * CPUS, [-1] * CPUS, None):
        with pytest.raises(PackError, match="u32"):
            table[1] = wrong
    assert len(table) == 0


def test_sums_do_not_wrap_around() -> None:
    most = (1 << 32) - 1
    with PerCpuArray(u32, 2) as found:
        found[1] = [most] * CPUS
        assert found.sum(1) == CPUS * most
        assert list(found.values(reduce=sum)) == [0, CPUS * most]


@pytest.mark.parametrize("cls", [PerCpuArray, LruPerCpuHash])
def test_structs(cls: type) -> None:
    with (PerCpuArray(Stat, 4) if cls is PerCpuArray else LruPerCpuHash(u32, Stat, 64)) as found:
        values = [Stat(cpu + 1, 10 * cpu, (cpu, 2 * cpu, 1)) for cpu in range(CPUS)]
        found[2] = values
        assert found[2] == values
        total = sum(range(CPUS))
        assert found.sum(2) == Stat(total + CPUS, 10 * total, (total, 2 * total, CPUS))
        by_field = dict(found.items(reduce={"longest": max}))[2]
        assert by_field == Stat(total + CPUS, 10 * (CPUS - 1), (total, 2 * total, CPUS))
        assert dict(found.items(reduce=lambda values: values[0]))[2] == values[0]


@pytest.fixture
def sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose possible CPUs are 0, 2 and 3."""
    (tmp_path / "possible").write_text("0,2-3\n")
    monkeypatch.setattr(cpus, "_SYSFS", f"{tmp_path}/")
    cpus._possible_cpus.cache_clear()
    yield
    cpus._possible_cpus.cache_clear()


def test_gaps_between_cpus(sparse: None) -> None:
    """The kernel sizes values by the number of possible CPUs and packs them; arrays of events it indexes by CPU."""
    assert (cpus.num_possible_cpus(), cpus.nr_cpu_ids()) == (3, 4)
    with PerCpuArray(u32, 2) as found:
        values = found._value_codec()
        assert values.size == 3 * 8
        raw = bytearray(values.size)
        values.pack_into(raw, [1, 2, 3])
        assert raw == struct.pack("=IxxxxIxxxxIxxxx", 1, 2, 3)
        assert values.unpack(raw) == [1, 2, 3]
        with pytest.raises(PackError, match="3 x u32"):
            values.pack_into(raw, [1, 0, 2, 3])
    with PerfEventArray() as events:
        assert events.max_entries == 4


def test_array() -> None:
    with PerCpuArray(u64, 3) as found:
        assert list(found.items()) == [(0, [0] * CPUS), (1, [0] * CPUS), (2, [0] * CPUS)]
        found[1] = list(range(CPUS))
        assert found[1] == list(range(CPUS))
        with pytest.raises(IndexError):
            found[3]
        found.clear()
        assert found.sum(1) == 0


def test_arrays_are_added_element_by_element() -> None:
    add = reducer(layout(u32[2][2]), sum)
    assert add([((1, 2), (3, 4)), ((10, 20), (30, 40))]) == ((11, 22), (33, 44))


def test_reducers_say_what_they_cannot_do() -> None:
    with pytest.raises(TypeError, match=r"char\[8\]"):
        reducer(layout(Named), sum)
    first = reducer(layout(Named), {"comm": lambda names: names[0]})
    assert first([Named(1, "a"), Named(2, "b")]) == Named(3, "a")
    with pytest.raises(TypeError, match="no field other"):
        reducer(layout(Named), {"other": sum})
    with pytest.raises(TypeError, match="Structs"):
        reducer(layout(u64), {"count": sum})
    with pytest.raises(TypeError, match=r"u8\[4\]"):
        reducer(layout(u8[4]), sum)
