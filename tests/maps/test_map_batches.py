"""Batches that the kernel breaks off: elements vanish, or an array has gaps; reading goes on where it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from pybpf.maps import Array, ArrayOfMaps, HashMap, Ipv4Prefix, LpmTrie, MapSpec, batch
from pybpf.sys.bpf import Attr, Cmd, MapType
from pybpf.types import u32

pytestmark = [pytest.mark.root, pytest.mark.generic]


def interrupted(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Lookups break off as before Linux 6.14: the first ``calls`` after three elements, all others before the first.

    The kernel does what it does when asked for fewer elements; only its result is another.
    """
    left = iter(range(calls))

    class Interrupted(Attr):
        def call(self) -> int:
            if self.cmd == Cmd.MAP_LOOKUP_BATCH:
                if next(left, None) is None:
                    self["count"] = 0
                else:
                    self["count"] = min(self["count"], 3)
                    super().call()
                raise OSError(errno.EINTR, os.strerror(errno.EINTR))
            return super().call()

    monkeypatch.setattr(batch, "Attr", Interrupted)


def trie(count: int) -> LpmTrie:
    made = LpmTrie(Ipv4Prefix, u32, 1000)
    made.update({(32, bytes([10, 0, 0, number])): number for number in range(count)})
    return made


@pytest.mark.parametrize("calls", [0, 1, 3, 100])
def test_what_was_read_counts(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Array(u32, 50) as slots:
        slots.update((i, 2 * i) for i in range(50))
        interrupted(monkeypatch, calls)
        assert list(slots.items()) == [(i, 2 * i) for i in range(50)]
    monkeypatch.undo()
    with trie(50) as routes:
        interrupted(monkeypatch, calls)
        assert sorted(routes.values()) == list(range(50))
        assert len(routes) == 50


@pytest.mark.parametrize("filled", [[], [0], [3], [0, 1, 5, 99]])
def test_arrays_with_gaps(filled: list[int]) -> None:
    """Lookups in batches, which such maps have since Linux 5.13, give EINTR at a gap until 6.14 and its backports."""
    with HashMap(u32, u32, max_entries=1) as inner, ArrayOfMaps(MapSpec(MapType.HASH, u32, u32, 1), 100) as outer:
        for slot in filled:
            outer[slot] = inner
        assert list(outer.items()) == [(slot, inner.id) for slot in filled]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(batch, "CHUNK", 60)  # five keys and values of a trie
    yield


def test_no_key_comes_twice_when_a_trie_begins_anew(small_batches: None) -> None:
    """The kernel does so when the key is deleted with which a batch ended."""
    with trie(40) as routes:
        reader = routes.items()
        first = [next(reader) for _ in range(5)]
        del routes[first[-1][0]]
        assert sorted(value for _, value in [*first, *reader]) == list(range(40))


def test_reading_a_trie_ends_while_it_changes(small_batches: None) -> None:
    """Every key is deleted once it was read, and a new one comes at the beginning."""
    with LpmTrie(Ipv4Prefix, u32, 20) as routes:
        routes.update({(32, bytes([10, 0, 0, number])): number for number in range(20)})
        seen: list[Any] = []
        for key in routes.keys():  # noqa: SIM118  # no len() first
            seen.append((key.bits, bytes(key.address)))
            del routes[key]
            routes[32, ((10 << 24) - len(seen)).to_bytes(4, "big")] = 0
            assert len(seen) <= 1000
        assert len(seen) == len(set(seen))
