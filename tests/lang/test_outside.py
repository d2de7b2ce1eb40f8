"""Elements of arrays in arrays, by indices of run time: outside of them zeros are read, and nothing is written."""

from __future__ import annotations

import pytest

from pybpf.lang.state.maps import Hash, Variable
from pybpf.types import Struct, char, u32, u64
from tests.lang.sharing import Shared

pytestmark = pytest.mark.root

shared = Shared()


class Row(Struct):
    key: u64
    many: u64[3]
    name: char[16]


class Cell(Struct):
    rows: Row[5]
    counts: u64[20]


class Grid(Struct):
    cells: Cell[6]


grid = Variable(Grid, shared.counts, name="grid")
grids = Hash(u32, Grid, 2, shared.counts, "grids")
PARTS = (grid, grids)


def test_atomic_additions_inside() -> None:
    def probe(i: u64, j: u64) -> None:
        grid.value.cells[i].counts[j] += 3
        grid.value.cells[i % 6].rows[j % 5].key += 1
        row = grid.value.cells[i].rows[j]
        row.key += 4
        row.many[j] += 5
        found = grids.get(1)
        if found is not None:
            found.cells[i].counts[j] += 7

    with shared.load(probe, *PARTS) as run:
        grids[1] = Grid()
        for i, j in ((1, 2), (1, 2), (6, 2), (1, 20), (1, 4), (99, 99)):
            run(i, j)
        cells = grid.value.cells
        assert [(i, j, n) for i, cell in enumerate(cells) for j, n in enumerate(cell.counts) if n] == [
            (1, 2, 6), (1, 4, 3),
        ]  # fmt: skip
        assert [(i, j, row.key) for i, cell in enumerate(cells) for j, row in enumerate(cell.rows) if row.key] == [
            (0, 2, 1), (1, 0, 1), (1, 2, 10), (1, 4, 5), (3, 4, 1),
        ]  # fmt: skip
        assert list(cells[1].rows[2].many) == [0, 0, 10] and list(cells[1].rows[4].many) == [0, 0, 0]
        assert list(grids[1].cells[1].counts[:5]) == [0, 0, 14, 0, 7]


def pick(i, j):  # type: ignore[no-untyped-def]
    if j > 2:
        return grid.value.cells[0].rows[0]
    return grid.value.cells[i].rows[1]


def test_what_is_assigned_outside_is_not_there() -> None:
    def probe(i: u64, j: u64) -> int:
        row = grid.value.cells[i].rows[j]
        row.key = 70
        row.name = "abc"
        row.many = (1, 2, 3)
        one = pick(i, j)
        one.key = 5
        cell = grid.value.cells[i]
        cell.rows[1] = Row(key=9)
        return row.key + 1000 * len(row.name) + 10000 * row.many[j] + 100000 * one.key

    with shared.load(probe, *PARTS) as run:
        assert run(6, 2) == 0
        assert run(0, 5) == 500000
        assert grid.value.cells[0].rows[0].key == 5
        assert [row.key for cell in grid.value.cells for row in cell.rows if row.key] == [5, 9]
        assert run(2, 2) == 70 + 3000 + 30000 + 900000
        assert grid.value.cells[2].rows[2] == Row(70, (1, 2, 3), "abc")


@pytest.mark.needs("helper_loop")
def test_own_memory() -> None:
    def probe(i: u64, j: u64) -> int:
        own = Grid()
        cell = own.cells[i]
        cell.counts[j] += 8
        total = cell.counts[j]
        for each in range(i):
            row = own.cells[each].rows[j]
            row.key += 1
            total += row.key
        return total

    with shared.load(probe) as run:
        assert run(6, 1) == 6
        assert run(5, 3) == 13
        assert run(9, 9) == 0
