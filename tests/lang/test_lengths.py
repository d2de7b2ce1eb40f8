"""``len`` of what has a length that is known while compiling, and of ranges."""

from __future__ import annotations

import pytest

from pybpf.lang import current_task
from pybpf.lang.state.maps import Hash
from pybpf.types import Struct, u16, u32
from tests.lang.harness import run
from tests.lang.sharing import Shared

pytestmark = pytest.mark.root

shared = Shared()


class Half(Struct):
    parts: u16[4]


halves = Hash(u32, Half, 4, shared.counts, "halves")
parts = Hash(u32, u16[6], 4, shared.counts, "parts")


def test_of_arrays_and_tuples() -> None:
    def probe(n: u32, m: u32) -> int:
        many: u32[5] = [1, 2, 3, 4, 5]
        pair = n, m
        total = 0
        for i in range(len(many)):
            total += many[i]
        return total * 10000 + len(pair) * 1000 + len([n, m, 4]) * 100 + len([*range(4)]) * 10 + len(u16[7]())

    assert run(probe, 7, 2) == 152347


def test_of_ranges() -> None:
    def probe(n: u32) -> int:
        return len(range(5)) * 10000 + len(range(n)) * 100 + len(range(10, n, -2))

    assert [run(probe, n) for n in (0, 3, 9)] == [50005, 50304, 50901]


def test_of_arrays_in_maps() -> None:
    def probe(n: u32) -> int:
        half, part = halves.get(n), parts.get(n)
        if half is None or part is None:
            return -1
        return len(half.parts) * 10 + len(part)

    with shared.load(probe, halves, parts) as program:
        halves[1], parts[1] = Half(), [0] * 6
        assert program(1) == 46


@pytest.mark.needs("btf_vmlinux")
def test_of_arrays_of_the_kernel() -> None:
    def probe(n: u32) -> int:
        task = current_task()
        limits = task.signal.rlim
        return len(limits) * 1000 + (0 < len(task.cpus_mask.bits) <= 128) * 100 + (0 < len(task.comm) < 16)

    assert run(probe, 0) == 16101
