"""HASH and LRU_HASH against the running kernel: dict operations, errors, iteration under change, threads."""

from __future__ import annotations

import errno
import gc
import os
import signal
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybpf.errors import ClosedError, KernelError, PackError
from pybpf.maps import HashMap, LruHash, MapSpec, Queue
from pybpf.sys.bpf import Cmd, MapFlags, MapType
from pybpf.types import Struct, char, s8, s64, u8, u16, u32, u64

pytestmark = [pytest.mark.root, pytest.mark.generic]

BATCHES = (
    Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_LOOKUP_AND_DELETE_BATCH, Cmd.MAP_UPDATE_BATCH, Cmd.MAP_DELETE_BATCH,
)  # fmt: skip


def one_by_one(found: Any) -> None:
    """Make a map behave as on a kernel without batches and without taking elements out in one step."""
    found._batches.update(dict.fromkeys(BATCHES, False))
    found._can_take = False


@pytest.fixture(params=["batches", "one by one"])
def counts(request: pytest.FixtureRequest) -> Iterator[HashMap]:
    with HashMap(u32, u64, max_entries=500, name="counts") as found:
        if request.param == "one by one":
            one_by_one(found)
        yield found


def test_dict_operations(counts: HashMap) -> None:
    counts[1] = 10
    assert counts[1] == 10
    assert (1 in counts, 2 in counts) == (True, False)
    assert (counts.get(1), counts.get(2), counts.get(2, 7)) == (10, None, 7)
    counts[1] = 1 << 63
    assert counts[1] == 1 << 63
    del counts[1]
    with pytest.raises(KeyError) as missing:
        counts[1]
    assert missing.value.args == (1,)
    with pytest.raises(KeyError):
        del counts[1]


def test_pop(counts: HashMap) -> None:
    counts[1] = 10
    assert counts.pop(1) == 10
    assert 1 not in counts
    assert counts.pop(1, "none") == "none"
    with pytest.raises(KeyError):
        counts.pop(1)


def test_add_and_replace(counts: HashMap) -> None:
    assert not counts.replace(1, 5)
    assert counts.add(1, 6)
    assert not counts.add(1, 7)
    assert counts[1] == 6
    assert counts.replace(1, 8)
    assert counts[1] == 8
    assert counts.setdefault(1, 9) == 8
    assert counts.setdefault(2, 9) == 9
    counts[1] = 10  # the flags of the calls above are not left behind
    assert dict(counts.items()) == {1: 10, 2: 9}


def test_whole_map(counts: HashMap) -> None:
    assert len(counts) == 0
    assert not counts
    model = {i * 7919: i for i in range(500)}
    counts.update(model)
    assert counts
    assert len(counts) == 500
    assert sorted(counts) == sorted(counts.keys()) == sorted(model)
    assert sorted(counts.values()) == sorted(model.values())
    assert len(list(counts.items())) == 500
    assert dict(counts.items()) == model
    counts.clear()
    assert list(counts.items()) == []


def test_update_takes_mappings_maps_and_pairs(counts: HashMap) -> None:
    counts.update({1: 1}, [(2, 2)], iter([(3, 3)]))
    with HashMap(u32, u64) as other:
        other.update(counts)
        assert dict(other.items()) == {1: 1, 2: 2, 3: 3}


def test_drain(counts: HashMap) -> None:
    model = {i: i for i in range(300)}
    counts.update(model)
    assert dict(counts.drain()) == model
    assert len(counts) == 0


def test_discard_deletes_many_and_says_how_many_there_were(counts: HashMap) -> None:
    counts.update((key, key) for key in range(300))
    assert counts.discard([]) == 0
    assert counts.discard(iter(range(10))) == 10
    assert counts.discard([5, 10, 1000, 11, 11, 2000, 12]) == 3  # some are gone, never were, or come twice
    assert counts.discard(range(400, 500)) == 0
    assert sorted(counts) == list(range(13, 300))
    assert counts.discard(range(1000)) == 287 and not counts
    with pytest.raises(PackError):
        counts.discard(["x"])


def test_full(counts: HashMap) -> None:
    counts.update((i, i) for i in range(500))
    for store in (lambda: counts.__setitem__(1000, 1), lambda: counts.update({1000: 1})):
        with pytest.raises(KernelError) as full:
            store()
        assert full.value.errno == errno.E2BIG
        assert "store under 1000 in hash map 'counts'" in str(full.value)
        assert "max_entries 500" in str(full.value)
        assert "LruHash" in str(full.value)
    counts[3] = 33  # what is there can be changed
    assert len(counts) == 500


@pytest.mark.parametrize("key", ["1", 1.5, None, -1, 1 << 32, (1,), b"\1\0\0\0"])
def test_wrong_keys(counts: HashMap, key: object) -> None:
    for use in (
        lambda: counts[key],
        lambda: counts.get(key),
        lambda: key in counts,
        lambda: counts.pop(key),
        lambda: counts.__setitem__(key, 1),
        lambda: counts.update({key: 1}),
        lambda: counts.__delitem__(key),
    ):
        with pytest.raises(PackError, match="u32"):
            use()
    with pytest.raises(PackError, match="u64"):
        counts[1] = key if key != 1 << 32 else 1 << 64
    assert len(counts) == 0


def test_update_stores_what_precedes_a_wrong_item_of_another_chunk() -> None:
    with HashMap(u64, u8[4096], max_entries=2000) as found:
        with pytest.raises(PackError):
            found.update([(i, bytes(4096)) for i in range(1000)] + [(-1, bytes(4096))])
        assert sorted(found) == list(range(len(found)))
        assert len(found) >= 255  # a chunk is one megabyte


def test_closed() -> None:
    found = HashMap(u32, u32, name="shut")
    found[1] = 1
    iteration = found.items()
    found.close()
    found.close()
    for use in (
        lambda: found[1],
        lambda: found.__setitem__(1, 1),
        lambda: found.__delitem__(1),
        lambda: list(found),
        lambda: len(found),
        lambda: bool(found),
        lambda: next(iteration),
        lambda: found.update({1: 1}),
        found.info,
        found.fileno,
        found.freeze,
    ):
        with pytest.raises(ClosedError, match="hash map 'shut' is closed"):
            use()


class Inner(Struct):
    a: u8
    b: s64


class Key(Struct):
    comm: char[16]
    pid: u32
    parts: Inner[2]
    small: s8


class Value(Struct):
    total: u64
    levels: u16[3]
    last: Inner
    blob: u8[5]


inner = st.builds(Inner, st.integers(0, 255), st.integers(-(1 << 63), (1 << 63) - 1))
text = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=4)
keys = st.builds(Key, text, st.integers(0, (1 << 32) - 1), st.tuples(inner, inner), st.integers(-128, 127))
levels = st.tuples(*[st.integers(0, 65535)] * 3)
values = st.builds(Value, st.integers(0, (1 << 64) - 1), levels, inner, st.binary(min_size=5, max_size=5))


@settings(max_examples=min(40, settings.default.max_examples))
@given(st.dictionaries(keys, values, max_size=20))
def test_nested_structs_come_back(model: dict[Key, Value]) -> None:
    with HashMap(Key, Value, max_entries=20) as found:
        found.update(model)
        assert dict(found.items()) == model
        for key, value in model.items():
            assert found[key] == value
            found[key] = value
        assert len(found) == len(model)


small = st.integers(0, 12)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), small, small),
        st.tuples(st.just("delete"), small, small),
        st.tuples(st.just("pop"), small, small),
        st.tuples(st.just("add"), small, small),
        st.tuples(st.just("replace"), small, small),
        st.tuples(st.just("setdefault"), small, small),
        st.tuples(st.just("update"), small, small),
        st.tuples(st.just("clear"), small, small),
        st.tuples(st.just("drain"), small, small),
    ),
    max_size=40,
)


def apply_to_dict(model: dict[int, int], name: str, key: int, value: int) -> object:
    if name == "set":
        model[key] = value
        return None
    if name == "delete":
        return model.pop(key, None) is not None
    if name == "pop":
        return model.pop(key, None)
    if name == "setdefault":
        return model.setdefault(key, value)
    if name == "update":
        model.update({key: value, key + 1: value})
        return None
    if name in ("clear", "drain"):
        before = dict(model)
        model.clear()
        return before if name == "drain" else None
    if (key in model) == (name == "replace"):
        model[key] = value
        return True
    return False


def apply_to_map(found: HashMap, name: str, key: int, value: int) -> object:
    if name == "set":
        found[key] = value
        return None
    if name == "delete":
        try:
            del found[key]
        except KeyError:
            return False
        return True
    if name == "pop":
        return found.pop(key, None)
    if name == "update":
        return found.update({key: value, key + 1: value})
    if name == "clear":
        return found.clear()
    if name == "drain":
        return dict(found.drain())
    return getattr(found, name)(key, value)


@pytest.mark.parametrize("batches", [True, False])
@settings(max_examples=min(60, settings.default.max_examples))
@given(operations)
def test_behaves_like_a_dict(batches: bool, steps: list[tuple[str, int, int]]) -> None:
    model: dict[int, int] = {}
    with HashMap(u32, u64, max_entries=20) as found:
        if not batches:
            one_by_one(found)
        for name, key, value in steps:
            assert apply_to_map(found, name, key, value) == apply_to_dict(model, name, key, value), name
            assert dict(found.items()) == model


def test_iteration_ends_and_repeats_nothing_while_the_map_changes(counts: HashMap) -> None:
    """Keys 0 to 99 stay; others come and go all the time."""
    stop = threading.Event()
    ready = threading.Event()

    def churn() -> None:
        step = 0
        while not stop.is_set():
            counts[1000 + step % 1000] = step
            counts.pop(1000 + (step - 200) % 1000, None)
            step += 1
            if step == 300:
                ready.set()

    counts.update((i, i) for i in range(100))
    batches = counts._batches.get(Cmd.MAP_LOOKUP_BATCH, True)
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        ready.wait()
        for _ in range(10):
            seen = list(counts)
            assert len(seen) == len(set(seen))
            if batches:
                assert set(range(100)) <= set(seen)
        before = counts.get(50)
        assert before == 50
        if batches:
            drained = [key for key, _ in counts.drain()]
            assert len(drained) == len(set(drained))
            assert set(range(100)) <= set(drained)
    finally:
        stop.set()
        thread.join()


def test_own_changes_during_iteration(counts: HashMap) -> None:
    counts.update((i, i) for i in range(400))
    for key in counts:
        del counts[key]
    assert len(counts) == 0
    counts[0] = 0
    steps = 0
    for key in counts:  # every step adds a key: the end comes nevertheless
        counts[(key + 1) % 500] = 1
        steps += 1
    assert 1 <= steps <= 500


def test_threads_do_not_mix_their_elements() -> None:
    wrong: list[tuple[int, Any]] = []
    with HashMap(u32, u64, max_entries=5000) as found:

        def work(base: int) -> None:
            for step in range(1500):
                key = base + step % 50
                found[key] = key << 32 | step
                value = found[key]
                if value != key << 32 | step:
                    wrong.append((key, value))
                if step % 3 == 0:
                    found.pop(key)

        threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class Interrupted(Exception):
    pass


def interrupted(step: Callable[[], object], times: int) -> int:
    """Run ``step`` again and again under a signal whose handler raises: how often it was cut short."""

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    cut = 0
    before = signal.signal(signal.SIGALRM, handler)
    try:
        while cut < times:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001)
                for _ in range(1000):
                    step()
            except Interrupted:
                cut += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return cut


@pytest.mark.parametrize("change", ["add", "replace"])
def test_a_signal_that_interrupts_a_change_leaves_the_map_usable(change: str) -> None:
    with HashMap(u32, u64) as found:
        if change == "replace":
            found[1] = 0
        assert interrupted(lambda: getattr(found, change)(1, 1), 300) == 300
        found[1], found[2] = 5, 6  # neither must be there, nor must not
        assert (found[1], found.pop(2), len(found)) == (5, 6, 1)


def test_a_signal_that_interrupts_a_push_leaves_the_queue_usable() -> None:
    with Queue(u64, max_entries=1) as found:
        found.push(1)  # a slow processor may be interrupted before it comes to push anything
        assert interrupted(lambda: found.push(1, overwrite=True), 300) == 300
        assert list(found.drain()) == [1]
        found.push(2)
        with pytest.raises(KernelError, match="full"):
            found.push(3)
        assert found.pop() == 2


def test_buckets_larger_than_a_batch() -> None:
    """Two big values per batch at first: a bucket of several makes the batch grow."""
    with HashMap(u32, u8[300_000], max_entries=64) as found:
        model = {i: bytes([i]) * 300_000 for i in range(64)}
        found.update(model)
        assert dict(found.items()) == model


def test_reading_takes_the_memory_of_a_batch() -> None:
    with HashMap(u32, u64, max_entries=50_000) as found:
        found.update((i, i) for i in range(50_000))
        gc.collect()
        tracemalloc.start()
        try:
            assert sum(value for _, value in found.items()) == 49_999 * 50_000 // 2
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 3 << 20


def test_small_and_odd_sizes(counts: HashMap) -> None:
    with HashMap(u8, u8, max_entries=256) as found:
        found.update((i, 255 - i) for i in range(256))
        assert dict(found.items()) == {i: 255 - i for i in range(256)}
    with HashMap(char[3], u8[7]) as found:
        found["abc"] = b"1234567"
        found["é"] = b"7654321"
        assert dict(found.items()) == {"abc": b"1234567", "é": b"7654321"}


def test_lru_makes_room() -> None:
    with LruHash(u32, u32, max_entries=100, name="recent") as found:
        for i in range(1000):
            found[i] = i
        assert 1 <= len(found) <= 1000
        left = dict(found.items())
        assert len(left) < 1000
        assert all(key == value for key, value in left.items())
        assert found[999] == 999


def test_no_prealloc() -> None:
    with HashMap(u32, u32, max_entries=10, flags=MapFlags.NO_PREALLOC) as found:
        found[1] = 2
        assert found.info().flags & MapFlags.NO_PREALLOC
        assert found[1] == 2
    with pytest.raises(KernelError):
        LruHash(u32, u32, flags=MapFlags.NO_PREALLOC)


def test_info_and_identity() -> None:
    spec = MapSpec(MapType.HASH, u32, u64, 77, "exactly_fifteen")
    with spec.create() as found:
        assert isinstance(found, HashMap)
        info = found.info()
        assert (info.type, info.key_size, info.value_size, info.max_entries) == (MapType.HASH, 4, 8, 77)
        assert info.name == "exactly_fifteen" == found.name
        assert info.id == found.id > 0
        assert (found.key_type, found.value_type, found.max_entries, found.flags) == (u32, u64, 77, 0)
        assert found.spec is spec
        assert os.readlink(f"/proc/self/fd/{found.fileno()}").endswith("bpf-map")
        assert "exactly_fifteen" in repr(found)


def test_long_names_are_cut_for_the_kernel_only() -> None:
    with HashMap(u32, u32, name="bytes_by_process_id") as found:
        assert found.name == "bytes_by_process_id"
        assert found.info().name == "bytes_by_proces"


def test_freeze() -> None:
    with HashMap(u32, u32, name="fixed") as found:
        found[1] = 1
        found.freeze()
        with pytest.raises(KernelError, match="hash map 'fixed'"):
            found[1] = 2
        assert found[1] == 1


def test_refused_changes_are_named() -> None:
    """What fails as a whole names no key; nothing that would take an element out is called a lookup."""
    with HashMap(u32, u32, name="fixed") as found, Queue(u32, 4, name="fixed") as queue:
        found.update({1: 1})
        found.freeze()
        queue.freeze()
        for change, words in (
            (lambda: found.update({7: 1, 8: 2}), "store 2 elements in hash map 'fixed'"),
            (lambda: found.pop(1), "take 1 out of hash map 'fixed'"),
            (lambda: list(found.drain()), "empty hash map 'fixed'"),
            (found.clear, "empty hash map 'fixed'"),
            (queue.pop, "take a value out of queue map 'fixed'"),
        ):
            with pytest.raises(KernelError, match=f"cannot {words}: .*frozen"):
                change()
        assert dict(found.items()) == {1: 1}
