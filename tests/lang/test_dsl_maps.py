"""Maps in probes: every operation, run in the kernel, by what it leaves in the map."""

from __future__ import annotations

import threading

import pytest

from pybpf.lang.state.maps import (
    Array,
    Hash,
    LruHash,
    PerCpuArray,
    PerCpuHash,
    Queue,
    Stack,
    Variable,
    key_type,
)
from pybpf.types import Struct, char, s32, s64, u8, u16, u32, u64
from tests.compiler.interp import ENOENT, Machine
from tests.lang import harness
from tests.lang.sharing import Shared

pytestmark = [pytest.mark.root, pytest.mark.generic]

shared = Shared()
counts = shared.counts


class Begun(Struct):
    time: u64
    n: u32


class Inner(Struct):
    a: u8
    b: u32


class Outer(Struct):
    first: u16
    inner: Inner
    many: Inner[3]  # type: ignore[type-arg]
    numbers: u32[5]  # type: ignore[type-arg]
    name: char[16]


hits = Hash(u32, u64, 100, counts, "hits")
small = Hash(u32, u32, 2, counts, "small")
signed = Hash(s32, s64, 100, counts, "signed")
begun = Hash(u32, Begun, 100, counts, "begun")
outers = Hash(Inner, Outer, 100, counts, "outers")
pairs = Hash((char[16], u16), u64, 100, counts, "pairs")
names = Hash(char[16], char[32], 100, counts, "names")
lru = LruHash(u32, u64, 100, counts, "lru")
per_cpu = PerCpuHash(u32, u64, 100, counts, "per_cpu")
cells = Array(u64, 4, counts, "cells")
begins = Array(Begun, 2, counts, "begins")
cpu_cells = PerCpuArray(u32, 4, counts, "cpu_cells")
queue = Queue(u32, 3, counts, "queue")
stack = Stack(Begun, 3, counts, "stack")
total = Variable(u64, counts, 40, "total")
limits = Variable(Begun, counts, Begun(time=7, n=8), "limits")


def test_store_and_read() -> None:
    def probe(key: u32, value: u64) -> u64:
        before = hits[key]
        hits[key] = value
        return before * 1000 + hits[key]

    with shared.load(probe, hits) as run:
        assert run(3, 5) == 5
        assert run(3, 6) == 5006
        assert dict(hits.items()) == {3: 6}
        assert hits.get(4) is None
        assert hits.dropped == 0


def test_add_creates_at_zero() -> None:
    def probe(key: u32, value: s64) -> None:
        hits[key] += value
        hits[key] -= 1
        signed[-5] += value
        hits[99] |= 6

    with shared.load(probe, hits, signed) as run:
        run(1, 10)
        run(1, 10)
        run(2, 1)
        run(2, -3)
        assert dict(hits.items()) == {1: 18, 2: (1 << 64) - 4, 99: 6}
        assert dict(signed.items()) == {-5: 18}


def test_what_finds_no_room_is_counted() -> None:
    def probe(key: u32, add: u32) -> None:
        if add:
            small[key] += 1
        else:
            small[key] = 5

    with shared.load(probe, small) as run:
        for key in range(6):
            run(key, key % 2)
        assert sorted(small.items()) == [(0, 5), (1, 1)]
        assert small.dropped == 4


def test_get_pop_and_delete() -> None:
    def probe(key: u32) -> u64:
        found = hits.get(key)
        if found is None:
            return 1000
        hits[key] = found + 1
        taken = hits.pop(key)
        if taken is None:
            return 2000
        if key in hits:
            return 3000
        return taken

    def others(key: u32) -> u64:
        result = hits.get(key, 7) * 100 + hits.pop(key, 8)
        hits[key] = 3
        del hits[key]
        del hits[key]
        return result * 100 + hits.setdefault(key, 4) * 10 + hits.setdefault(key, 5)

    with shared.load(probe, hits) as run:
        hits[1] = 50
        assert run(1) == 51
        assert run(1) == 1000
        assert dict(hits.items()) == {}
    with shared.load(others, hits) as run:
        assert run(1) == 70844
        assert dict(hits.items()) == {1: 4}
        assert run(1) == 40444


class _Late(Machine):
    """Another CPU deletes what a program has found before the program does."""

    def delete(self, name: str, key: bytes) -> int:
        super().delete(name, key)
        return ENOENT


@pytest.mark.parametrize("machine", [Machine, _Late])
def test_pop_gives_an_entry_to_one_cpu(machine: type[Machine]) -> None:
    def integers(key: u32) -> u64:
        hits[key] = 5
        taken = hits.pop(key)
        hits[key] = 7
        if taken is None:
            return hits.pop(key, 1)
        return taken * 10 + hits.pop(key, 1)

    def structs(key: u32) -> u64:
        begun[key] = Begun(time=57)
        taken = begun.pop(key)
        if taken is None:
            return 1
        return taken.time

    for probe, alone, late in ((integers, 57, 1), (structs, 57, 1)):
        unit = harness.compiled(probe)
        memory = machine(unit)
        memory.run(memory.memory(bytes(96)).address)
        (result,) = memory.contents()[harness.RESULT].values()
        assert int.from_bytes(result, memory.order) == (late if machine is _Late else alone)


def test_truth_of_what_may_be_missing() -> None:
    def probe(key: u32) -> u64:
        result = 0
        if hits.get(key):
            result += 1
        if begun.get(key):
            result += 10
        if not hits.get(key):
            result += 100
        found = hits.get(key)
        if found is not None and found > 5:
            result += 1000
        return result

    with shared.load(probe, hits, begun) as run:
        assert run(1) == 100
        hits[1], begun[1] = 0, Begun()
        assert run(1) == 110
        hits[1] = 6
        assert run(1) == 1011


def test_structs_change_in_place() -> None:
    def probe(key: u32, time: u64) -> u64:
        found = begun.get(key)
        if found is None:
            begun[key] = Begun(time=time)
            return 0
        found.time += 5
        found.n = found.time * 2
        same = found
        same.n += 1
        return found.n

    with shared.load(probe, begun) as run:
        assert [run(1, 10), run(1, 0), run(1, 0)] == [0, 31, 41]
        assert dict(begun.items()) == {1: Begun(20, 41)}


def test_pop_gives_a_copy() -> None:
    def probe(key: u32) -> u64:
        taken = begun.pop(key)
        if taken is None:
            return 0
        begun[key] = Begun(1, 2)
        return taken.time * 100 + taken.n

    with shared.load(probe, begun) as run:
        assert run(1) == 0
        begun[1] = Begun(33, 44)
        assert run(1) == 3344
        assert begun[1] == Begun(1, 2)


def test_setdefault_of_structs() -> None:
    def probe(key: u32) -> u64:
        found = begun.setdefault(key, Begun(n=3))
        if found is None:
            return 99
        found.time += 1
        return found.n

    with shared.load(probe, begun) as run:
        assert [run(1), run(1)] == [3, 3]
        assert begun[1] == Begun(2, 3)


def test_nested_structs_as_keys_and_values() -> None:
    def probe(a: u8, b: u32) -> u64:
        key = Inner(a, b)
        outers[key] = Outer(first=1, inner=key, many=(Inner(1, 2), key, (5, 6)), numbers=[b, 2, 3, 4, 5], name="x")
        found = outers.get(Inner(a=a, b=b))
        if found is None:
            return 99
        found.many[2] = found.inner
        found.many[0].b += 40
        found.numbers[b] += 100
        found.name = "a longer name"
        if found.many[1] != key or found.many[2] != found.inner:
            return 98
        if found.many[0] == key:
            return 97
        return found.numbers[b] + found.many[-1].a

    with shared.load(probe, outers) as run:
        assert run(7, 3) == 111
        ((key, value),) = outers.items()
        assert key == Inner(7, 3)
        assert value == Outer(
            1, Inner(7, 3), (Inner(1, 42), Inner(7, 3), Inner(7, 3)), (3, 2, 3, 104, 5), "a longer name"
        )


def test_tuple_and_text_keys() -> None:
    def probe(port: u16) -> u64:
        pairs["nginx", port] += 1
        key = ("sshd", port)
        pairs[key] = 5
        names["a"] = "first"
        names["b"] = names_of_b
        found = names.get("b")
        if found is None:
            return 0
        names["c"] = found
        found = "unrelated"
        return pairs["nginx", port] + ((("nginx", 80) in pairs) << 8)

    names_of_b = "second"
    with shared.load(probe, pairs, names) as run:
        assert run(80) == 257
        assert run(443) == 257
        assert dict(pairs.items()) == {("nginx", 80): 1, ("nginx", 443): 1, ("sshd", 80): 5, ("sshd", 443): 5}
        assert pairs["sshd", 80] == 5
        assert dict(names.items()) == {"a": "first", "b": "second", "c": "second"}


def test_other_hash_tables() -> None:
    def probe(key: u32) -> u64:
        lru[key] = 5
        lru[key] += 2
        per_cpu[key] += 3
        return lru[key] + per_cpu[key]

    with shared.load(probe, lru, per_cpu) as run:
        assert run(1) == 10
        assert dict(lru.items()) == {1: 7}
        assert per_cpu.sum(1) == 3


def test_arrays() -> None:
    def probe(index: u32, value: u64) -> u64:
        cells[index] = value
        cells[index] += 1
        cells[1] += 5
        cells[3] = 9
        begins[1].n = 6
        begins[1].time += 2
        found = begins[index]
        if found is not None:
            found.time += 100
        cpu_cells[2] += 4
        return cells[index] * 1000 + cells[3] + cpu_cells[2]

    with shared.load(probe, cells, begins, cpu_cells) as run:
        assert run(0, 7) == 8013
        assert run(4, 7) == 17
        assert list(cells.values()) == [8, 10, 0, 9]
        assert list(begins.values()) == [Begun(100, 0), Begun(4, 6)]
        assert cpu_cells.sum(2) == 8


def test_a_loop_over_an_array_sees_what_it_stores() -> None:
    def probe(value: u64) -> u64:
        numbers: u64[4] = [value, 1, 1, 1]
        for number in numbers:
            numbers[3] += number
            numbers[1] = 5
        return numbers[3]

    with shared.load(probe) as run:
        assert run(2) == 2 * (1 + 2 + 5 + 1)


def test_queue_and_stack() -> None:
    def probe(value: u32) -> u64:
        if value == 0:
            taken = queue.pop()
            if taken is None:
                return 1000
            top = stack.peek()
            if top is None:
                return 2000
            return taken * 100 + top.n
        queue.push(value)
        stack.push(Begun(n=value))
        return 0

    with shared.load(probe, queue, stack) as run:
        assert run(0) == 1000
        for value in (1, 2, 3, 4):
            run(value)
        assert [run(0), run(0)] == [103, 203]
        assert queue.dropped == 1
        assert list(stack.drain()) == [Begun(0, 3), Begun(0, 2), Begun(0, 1)]


def test_variables() -> None:
    def probe(value: u64) -> u64:
        total.value += value
        limits.value.n += 1
        if total.value > 100:
            total.value = 1
        return total.value + limits.value.time

    with shared.load(probe, total, limits) as run:
        assert run(2) == 49
        assert total.value == 42
        total.value = 99
        assert run(2) == 8
        assert limits.value == Begun(7, 10)


def test_additions_of_many_threads_are_exact() -> None:
    def probe(key: u32) -> None:
        hits[key] += 1
        per_cpu[key] += 1
        total.value += 1
        found = begun.setdefault(key, Begun())
        if found is not None:
            found.time += 1
            found.n += 1

    threads, runs = 4, 1500

    with shared.load(probe, hits, per_cpu, begun, total) as run:
        total.value = 0

        def work() -> None:
            for number in range(runs):
                run(number % 3)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        each_key = threads * runs // 3
        assert dict(hits.items()) == dict.fromkeys(range(3), each_key)
        assert [per_cpu.sum(key) for key in range(3)] == [each_key] * 3
        assert dict(begun.items()) == dict.fromkeys(range(3), Begun(each_key, each_key))
        assert total.value == threads * runs


def test_key_types() -> None:
    key = key_type((char[4], bool))
    assert key("ab", True) == ("ab", True)
    with pytest.raises(TypeError, match="at least one"):
        key_type(())
    with pytest.raises(TypeError, match="not a pybpf type"):
        key_type((int,))
