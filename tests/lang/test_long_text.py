"""Long text: searched, measured and compared at a cost for the verifier that does not grow with its length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pybpf.compiler.target import Target
from pybpf.errors import CompileError
from pybpf.lang.state.maps import Array
from pybpf.types import array_of, char, u64
from tests.lang.harness import compiled
from tests.lang.sharing import Shared

pytestmark = [pytest.mark.root, pytest.mark.needs("map_value", "test_run_raw_tp")]
shared = Shared()
texts = {size: Array(array_of(char, size), 2, shared.counts, f"texts{size}") for size in (256, 1024, 4096)}

#: Instructions that the verifier may follow: half a second at most. A third of that is usual where the kernel has
#: iterators; without iterators and callbacks it walks through each search.
MOST = 300_000


def check(probe: Callable[..., Any], size: int, cases: dict[tuple[str, str], int], *args: int) -> None:
    """Load a probe, and run it on texts."""
    with shared.load(probe, texts[size]) as run:
        for (one, two), expected in cases.items():
            texts[size][0], texts[size][1] = one, two
            assert run(*args) == expected, (len(one), len(two))
        verified = run.program.info().verified_insns
        assert verified is None or verified < MOST


def expected(one: str, two: str) -> int:
    found = (one.endswith("xyz"), "xyz" in one, one == two, one.startswith("xyz"), one.endswith(("a", "yz", "zz")),
             "z" in two, "abcdefghijklm" in one)  # fmt: skip
    return sum(each << at for at, each in enumerate(found)) + (len(one) << 16) + (len(two) << 32)


def examples(size: int) -> dict[tuple[str, str], int]:
    full = "a" * (size - 3) + "xyz"
    some = [
        ("", ""), ("xyz", "xyz"), (full, full), (full, full[:-1]), (full[:-1], full), ("a" * (size - 1), "a" * size),
        ("a" * 37 + "xyz" + "a" * 30, "z"), ("b" * (size // 2) + "abcdefghijklm", "a" * (size - 1) + "z"),
        ("a" * (size // 2 - 1) + "xyz", "xyzz"),
    ]  # fmt: skip
    return {each: expected(*each) for each in some}


@pytest.mark.parametrize("size", texts)
def test_each_operation(size: int) -> None:
    both = texts[size]

    def probe() -> u64:
        x, y = both[0], both[1]
        n = x.endswith("xyz") | ("xyz" in x) << 1 | (x == y) << 2 | x.startswith("xyz") << 3
        n |= x.endswith(("a", "yz", "zz")) << 4 | ("z" in y) << 5 | ("abcdefghijklm" in x) << 6
        return n | len(x) << 16 | len(y) << 32

    check(probe, size, examples(size))


@pytest.mark.needs("helper_loop")  # others are told, see below
@pytest.mark.parametrize("size", texts)
def test_in_a_loop(size: int) -> None:
    both = texts[size]

    def probe(turns: u64) -> u64:
        n = 0
        for i in range(100):
            n += ("xyz" in both[0]) + both[0].endswith("zz") + (both[0] == both[1]) + (i == len(both[1]))
        for _ in range(turns):
            n += ("yx" in both[1]) * 1000 + both[0].endswith("yx") * 1000
        return n

    other = "a" * (size - 5) + "yx"
    check(probe, size, {("axyz", "a" * 40): 101, ("xyzz", "xyzz"): 301, (other, other): 100_100}, 50)


@pytest.mark.needs("helper_loop")
def test_a_search_for_long_text() -> None:
    both = texts[1024]

    def probe() -> u64:
        return both[1] in both[0]

    full = "ab" * 512
    cases = {
        (full, full[1:]): 1,
        (full, full): 1,
        (full[:-1], full): 0,
        ("x" * 1023 + "y", "xy"): 1,
        ("xy", "x" * 9): 0,
    }
    check(probe, 1024, cases)


def test_what_a_kernel_without_long_loops_says() -> None:
    """Linux 5.3 to 5.16: the verifier walks through each turn; before that it takes no loops."""
    both = texts[4096]

    def search() -> u64:
        return ("xyz" in both[0]) + ("zyx" in both[1])

    def search_often() -> u64:
        n = 0
        for _ in range(100):
            n += "xyz" in both[0]
        return n

    said = []
    for probe, release in ((search_often, "5.10"), (search, "5.2")):
        with pytest.raises(CompileError) as raised:
            compiled(probe, Target.described(release))
        said.append(raised.value.message)
    assert said == [
        "searching a char[4096] in a loop takes more turns than the verifier of this kernel walks through (Linux 5.17 "
        "has bpf_loop): use it outside of the loop, or make the loop shorter",
        "searching a char[4096] takes more turns than the verifier of this kernel walks through (Linux 5.17 has "
        "bpf_loop): take less, such as a slice, x[:64]",
    ]
    compiled(search, Target.described("5.10"))
