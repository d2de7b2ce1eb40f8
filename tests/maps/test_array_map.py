"""ARRAY against the running kernel, and its elements mapped into memory."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from pybpf.errors import KernelError, PackError
from pybpf.maps import Array
from pybpf.sys.bpf import Cmd, MapFlags
from pybpf.types import Struct, s32, u8, u16, u32, u64

pytestmark = [pytest.mark.root, pytest.mark.generic]


class Pair(Struct):
    first: u64
    second: u32


@pytest.fixture(params=["batches", "one by one"])
def slots(request: pytest.FixtureRequest) -> Iterator[Array]:
    with Array(u64, 300, name="slots") as found:
        if request.param == "one by one":
            found._batches.update({Cmd.MAP_LOOKUP_BATCH: False, Cmd.MAP_UPDATE_BATCH: False})
        yield found


def test_every_element_is_there_from_the_start(slots: Array) -> None:
    assert len(slots) == 300
    assert slots
    assert slots[299] == 0
    assert list(slots) == list(range(300))
    assert list(slots.items()) == [(i, 0) for i in range(300)]


def test_elements(slots: Array) -> None:
    slots[7] = 77
    slots.update((i, i * i) for i in range(100, 300))
    assert slots[7] == 77
    assert list(slots.values()) == [0] * 7 + [77] + [0] * 92 + [i * i for i in range(100, 300)]
    slots.clear()
    assert set(slots.values()) == {0}


def test_out_of_range(slots: Array) -> None:
    for use in (
        lambda: slots[300],
        lambda: slots.__setitem__(300, 1),
        lambda: slots.update({300: 1}),
    ):
        with pytest.raises(IndexError, match=r"array map 'slots'.*0 to 299"):
            use()
    assert slots.get(300, 5) == 5
    assert 300 not in slots
    with pytest.raises(PackError):
        slots[-1]
    with pytest.raises(PackError):
        slots["a"]


def test_elements_cannot_go(slots: Array) -> None:
    slots[1] = 5
    with pytest.raises(KernelError) as refused:
        del slots[1]
    assert refused.value.errno == errno.EINVAL
    with pytest.raises(KernelError):
        slots.pop(1)
    with pytest.raises(KernelError):
        list(slots.drain())
    assert slots[1] == 5


@pytest.mark.parametrize("kind", [u8, u16, s32, u64])
def test_view_of_integers(kind: type) -> None:
    with Array(kind, 600, flags=MapFlags.MMAPABLE) as found:
        found[599] = 9
        view = found.view()
        assert len(view) == 600
        assert view[599] == 9
        view[1] = 7
        assert found[1] == 7
        found[2] = 8
        assert view[2] == 8
        del view


def test_view_of_structs_and_after_close() -> None:
    with Array(Pair, 10, flags=MapFlags.MMAPABLE) as found:
        found[3] = Pair(1, 2)
        view = found.view(writable=False)
        assert found.stride == 16
    assert view[48:64] == (1).to_bytes(8, "little") + (2).to_bytes(4, "little") + bytes(4)
    with pytest.raises(TypeError):
        view[0] = 1
    del view


def test_view_needs_the_flag() -> None:
    with Array(u64, 1) as found, Array.from_id(found.id) as opened:
        for one in (found, opened):
            with pytest.raises(KernelError, match=r"array map.* into memory: .*flags=MapFlags\.MMAPABLE"):
                one.view()


def test_view_keeps_an_array_from_freezing() -> None:
    with Array(u64, 1, flags=MapFlags.MMAPABLE) as found:
        view = found.view()
        with pytest.raises(KernelError):
            found.freeze()
        del view
        found.freeze()
        with pytest.raises(KernelError):
            found.view()
        assert found.view(writable=False)[0] == 0
