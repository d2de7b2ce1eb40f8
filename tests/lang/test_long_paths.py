"""``path`` twice in a probe and in loops: the walk over dentries is a loop that the verifier need not walk through."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.lang import current_task, path
from pybpf.lang.state.maps import Array
from pybpf.types import array_of, char, u64
from tests.lang.harness import compiled
from tests.lang.sharing import Shared

pytestmark = pytest.mark.root
needs = pytest.mark.needs("map_value", "test_run_raw_tp", "helper_loop")
shared = Shared()
paths = Array(array_of(char, 256), 8, shared.counts, "paths")
#: Instructions that the verifier may follow, a second.
MOST = 300_000


def twice(first: u64):
    files = current_task().files.fdt.fd
    paths[0] = path(files[first])
    paths[1] = path(files[first + 1])
    return 2


def of_a_directory(first: u64):
    paths[0] = path(current_task().files.fdt.fd[first])
    paths[1] = path(current_task().fs.pwd)
    return 2


def in_a_short_loop(first: u64):
    for i in range(5):
        paths[i & 7] = path(current_task().files.fdt.fd[first + i])
    return 5


def in_a_loop(first: u64):
    for i in range(100):
        paths[i & 7] = path(current_task().files.fdt.fd[first + (i & 7)])
    return 8


def twice_in_a_loop(first: u64):
    for i in range(300):
        paths[2 * i & 7] = path(current_task().files.fdt.fd[first + (2 * i & 7)])
        paths[2 * i + 1 & 7] = path(current_task().files.fdt.fd[first + (2 * i + 1 & 7)])
    return 8


def in_a_loop_of_run_time(first: u64, count: u64):
    for i in range(count):
        name = path(current_task().files.fdt.fd[first + i])
        paths[i & 7] = name
        if name.endswith("file5"):
            return i
    return 0


PROBES = (twice, of_a_directory, in_a_short_loop, in_a_loop, in_a_loop_of_run_time)
TWICE = pytest.param(twice_in_a_loop, marks=pytest.mark.needs("iter_num"))  # two callbacks in one take too much stack


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[str]]]:
    """The first of eight descriptors, one behind the other, and the names of their files."""
    first, top = 300, tmp_path_factory.mktemp("paths")
    made = [top.joinpath(*("d" * 9 for _ in range(depth)), f"file{depth}") for depth in range(8)]
    for number, each in enumerate(made):
        each.parent.mkdir(exist_ok=True)
        with each.open("w") as file:
            os.dup2(file.fileno(), first + number)
    yield first, [str(each) for each in made]
    for number in range(len(made)):
        os.close(first + number)


@needs
@pytest.mark.parametrize("probe", [*PROBES, TWICE])
def test_paths(probe: Callable[..., Any], names: tuple[int, list[str]]) -> None:
    first, expected = names
    with shared.load(probe, paths) as run:
        count = run(first, 8)
        assert count
        if probe is of_a_directory:
            expected = [expected[0], os.getcwd()]
        assert [paths[number] for number in range(count)] == expected[:count]
        verified = run.program.info().verified_insns
        assert verified is None or verified < MOST


@needs
@pytest.mark.native
def test_a_callback_does_not_compute_with_pointers_of_known_types(names: tuple[int, list[str]]) -> None:
    """What Linux 5.17 to 6.3 get: what turns leave to each other is hidden, which no such pointer lets happen."""
    first, expected = names
    with shared.load(of_a_directory, paths, without=["iter_num"]) as run:
        run(first)
        assert (paths[0], paths[1]) == (expected[0], os.getcwd())


def test_what_a_kernel_without_long_loops_says() -> None:
    """Linux 5.3 to 5.16: the verifier walks through each turn."""
    target = Target.described("5.10", types="/sys/kernel/btf/vmlinux")
    compiled(twice, target)
    with pytest.raises(CompileError) as raised:
        compiled(in_a_loop, target)
    assert raised.value.message == (
        "path() in a loop takes more turns than the verifier of this kernel walks through (Linux 5.17 has bpf_loop): "
        "use it outside of the loop, or make the loop shorter"
    )
