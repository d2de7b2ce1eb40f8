"""Hostile input, the short form: some inputs for every way in, and all that once did worse than an exception."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.reliability import hostile
from tests.reliability.hostile import Failure
from tests.reliability.surfaces import SURFACES, Surface

pytestmark = pytest.mark.pure

#: inputs for each surface; the long form is ``python -m tests.reliability.hostile --count 100000``
COUNT = int(os.environ.get("PYBPF_HOSTILE", "400"))


def _past() -> dict[str, list[int]]:
    """Surface -> the seeds that once failed."""
    found: dict[str, list[int]] = {}
    for line in hostile.SEEDS.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, seed = line.split()[:2]
            found.setdefault(name, []).append(int(seed))
    return found


@pytest.mark.parametrize("name", SURFACES)
def test_only_documented_exceptions(name: str) -> None:
    surface = SURFACES[name]
    surface.use(surface.good())
    failures, read = hostile.run(name, 0, COUNT // surface.cost, slower=4)
    assert failures == []
    assert read > 0, "nothing was read whole: what is tested is only how input is refused"


@pytest.mark.parametrize("name", _past())
def test_inputs_that_once_did_worse(name: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda seed: hostile.run(name, seed, 1, 4), _past()[name]))
    assert [failure for failures, _ in done for failure in failures] == []


def _spin(data: object) -> None:
    while True:
        pass


def _grow(data: object) -> None:
    assert bytearray(1 << 40)


def _confused(data: object) -> None:
    raise KeyError(data)


@pytest.mark.parametrize(
    ("use", "what"), [(_spin, "took more than 0.1 s"), (_grow, "took more than 256 MB"), (_confused, "KeyError: 7")]
)
def test_what_counts_as_a_failure(use: object, what: str) -> None:
    """A reader that hangs, eats memory or lets out an exception of Python is found out."""
    surface = Surface("test", lambda rng: 7, use, lambda: 7)  # type: ignore[arg-type]
    with hostile.handled():
        wrong, read = hostile.check(surface, 0, slower=0.1)
    assert what in wrong
    assert not read


def test_a_seed_gives_the_same_input_for_ever() -> None:
    for surface in SURFACES.values():
        made = [surface.make(random.Random(f"{surface.name} 5")) for _ in range(2)]
        assert made[0] == made[1]
    assert str(Failure("btf", 3, "hangs")) == "btf 3: hangs"
