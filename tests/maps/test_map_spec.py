"""Map specifications: pure data, checked when made."""

from __future__ import annotations

import pickle

import pytest

from pybpf.errors import PackError
from pybpf.maps import MapSpec
from pybpf.maps.codec import descriptor
from pybpf.sys.bpf import MapType
from pybpf.types import u32, u64

pytestmark = pytest.mark.pure


def test_sizes_and_text() -> None:
    spec = MapSpec(MapType.PERCPU_HASH, u32, u64[3], 10, "abc")
    assert (spec.key_size, spec.value_size) == (4, 24)
    assert str(spec) == "percpu_hash map 'abc'"
    ring = MapSpec(MapType.RINGBUF, max_entries=4096)
    assert (ring.key_size, ring.value_size) == (0, 0)
    assert str(ring) == "ringbuf map"


def test_is_a_value() -> None:
    one, same = (MapSpec(MapType.HASH, u32, u64, 10, "abc") for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize("name", ["a-b", "a b", "é", "a\0", "a/b", "\n"])
def test_wrong_names(name: str) -> None:
    with pytest.raises(PackError, match="letters, digits"):
        MapSpec(MapType.HASH, u32, u32, 1, name)


@pytest.mark.parametrize("count", [-1, 1 << 32])
def test_wrong_max_entries(count: int) -> None:
    with pytest.raises(PackError, match="max_entries"):
        MapSpec(MapType.HASH, u32, u32, count)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="not a pybpf type"):
        MapSpec(MapType.HASH, int, u32, 1)


def test_descriptors() -> None:
    with open("/dev/null") as file:
        assert descriptor(file) == file.fileno() == descriptor(file.fileno())
    for wrong in (-1, 1 << 31, "3", None):
        with pytest.raises(PackError):
            descriptor(wrong)
