"""Maps between programs and Python: what one side stores, the other reads."""

from __future__ import annotations

import errno
import os
import threading
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from pybpf.asm import assemble
from pybpf.errors import ClosedError, KernelError, PackError
from pybpf.maps import (
    Array,
    ArrayOfMaps,
    BloomFilter,
    HashMap,
    HashOfMaps,
    MapSpec,
    PerCpuArray,
    PerCpuHash,
    ProgArray,
    Queue,
    Stack,
    StackTrace,
    TaskStorage,
    UserRingBuffer,
)
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import MapFlags, MapType, ProgType
from pybpf.sys.cpus import num_possible_cpus, online_cpus
from pybpf.types import Struct, u32, u64

pytestmark = [pytest.mark.root, pytest.mark.generic]

KEY_3 = """
    *(u32 *)(r10 -4) = 3
    r2 = r10
    r2 += -4
    r1 = map[m]
    call bpf_map_lookup_elem
    if r0 == 0 goto out
"""
END = """
out:
    r0 = 0
    exit
"""
COUNT = KEY_3 + "r1 = 1\n lock *(u64 *)(r0 +0) += r1" + END
#: without a lock: each CPU has its own
COUNT_PER_CPU = KEY_3 + "r1 = *(u64 *)(r0 +0)\n r1 += 1\n *(u64 *)(r0 +0) = r1" + END


def load(text: str, maps: dict[str, Any], kind: ProgType = ProgType.SOCKET_FILTER) -> Program:
    return Program.load(ProgramSpec(kind, assemble(text), "test"), maps)


def run(program: Program, *, cpu: int | None = None, times: int = 1) -> int:
    """Run a program ``times`` times: its last result; on ``cpu`` if it is for raw tracepoints."""
    if cpu is None:
        return program.test_run(repeat=times).retval
    return [program.test_run(cpu=cpu).retval for _ in range(times)][-1]


class Pair(Struct):
    first: u64
    second: u32


class Task(Struct):
    count: u64


@pytest.mark.parametrize("make", [lambda: HashMap(u32, u64), lambda: Array(u64, 4)], ids=["hash", "array"])
def test_counting(make: Callable[[], Any]) -> None:
    with make() as found:
        found[3] = 5
        with load(COUNT, {"m": found}) as program:
            run(program, times=1000)
        assert found[3] == 1005


@pytest.mark.parametrize(
    "make", [lambda: PerCpuHash(u32, u64), lambda: PerCpuArray(u64, 4)], ids=["percpu_hash", "percpu_array"]
)
def test_counting_per_cpu(make: Callable[[], Any]) -> None:
    """Each CPU counts a number of its own: nothing is lost or mixed up."""
    with make() as found:
        found[3] = [0] * num_possible_cpus()
        with load(COUNT_PER_CPU, {"m": found}, ProgType.RAW_TRACEPOINT) as program:
            for cpu in online_cpus():
                run(program, cpu=cpu, times=10 * (cpu + 1))
        expected = [10 * (cpu + 1) if cpu in online_cpus() else 0 for cpu in range(num_possible_cpus())]
        assert found[3] == expected
        assert found.sum(3) == sum(expected)
        assert dict(found.items(reduce=max))[3] == max(expected)


def test_counting_while_draining() -> None:
    """Counts that a program makes while another thread drains are all in one of the drains."""
    text = """
        *(u32 *)(r10 -4) = 3
        *(u64 *)(r10 -16) = 1
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -16
        r1 = map[m]
        r4 = 1
        call bpf_map_update_elem
        exit
    """
    stored = drained = 0
    with HashMap(u32, u64, 16) as found, load(text, {"m": found}) as program:
        stop = threading.Event()

        def produce() -> None:
            nonlocal stored
            while not stop.is_set():
                stored += run(program) == 0  # -EEXIST: the last one is still there

        thread = threading.Thread(target=produce)
        thread.start()
        try:
            while drained < 50:
                drained += sum(value for _, value in found.drain())
        finally:
            stop.set()
            thread.join()
        drained += sum(value for _, value in found.drain())
    assert stored == drained


def test_structs_have_c_layout() -> None:
    with HashMap(u32, Pair) as found:
        found[3] = Pair(7, 8)
        text = KEY_3 + """
            r1 = *(u64 *)(r0 +0)
            r2 = *(u32 *)(r0 +8)
            *(u32 *)(r0 +8) = r1
            *(u64 *)(r0 +0) = r2
        """
        with load(text + END, {"m": found}) as program:
            run(program)
        assert found[3] == Pair(8, 7)


def test_view_shares_memory_with_programs() -> None:
    with Array(u64, 4, flags=MapFlags.MMAPABLE) as found:
        view = found.view()
        with load(COUNT, {"m": found}) as program:
            run(program, times=10)
            assert view[3] == 10
            view[3] = 100
            run(program)
        assert view[3] == found[3] == 101
        view.release()


@pytest.mark.parametrize("cls", [Queue, Stack])
def test_queue_and_stack_from_a_program(cls: type[Queue]) -> None:
    text = """
        r6 = 5
    next:
        *(u64 *)(r10 -8) = r6
        r1 = map[m]
        r2 = r10
        r2 += -8
        r3 = 0
        call bpf_map_push_elem
        r6 += -1
        if r6 != 0 goto next
        exit
    """
    with cls(u64, 8) as found, load(text, {"m": found}) as program:
        run(program)
        expected = [5, 4, 3, 2, 1] if cls is Queue else [1, 2, 3, 4, 5]
        assert found.peek() == expected[0]
        assert list(found.drain()) == expected


@pytest.mark.parametrize("cls", [Queue, Stack])
def test_queue_and_stack(cls: type[Queue]) -> None:
    with cls(Pair, 3, name="waiting") as found:
        for take in (found.pop, found.peek):
            with pytest.raises(IndexError, match="'waiting' is empty"):
                take()
            assert take(None) is None
        for i in range(3):
            found.push(Pair(i, i))
        with pytest.raises(KernelError, match="max_entries 3") as full:
            found.push(Pair(3, 3))
        assert full.value.errno == errno.E2BIG
        found.push(Pair(4, 4), overwrite=True)
        assert [value.first for value in found.drain()] == ([1, 2, 4] if cls is Queue else [4, 2, 1])
        with pytest.raises(PackError):
            found.push(5)
    with pytest.raises(ClosedError):
        found.pop()


@pytest.mark.needs("bloom_filter")
def test_bloom_filter() -> None:
    text = """
        *(u64 *)(r10 -8) = {value}
        r1 = map[m]
        r2 = r10
        r2 += -8
        call bpf_map_{call}_elem
        exit
    """
    with BloomFilter(u64, 1000, hashes=3) as found:
        for i in range(0, 1000, 2):
            found.add(i)
        assert all(i in found for i in range(0, 1000, 2))
        assert sum(i in found for i in range(1, 1000, 2)) < 250
        with load(text.format(value=10, call="peek"), {"m": found}) as program:
            assert run(program) == 0
        push = text.format(value=123456789, call="push").replace("call", "r3 = 0\ncall")
        with load(push, {"m": found}) as program:
            run(program)
        assert 123456789 in found
        with pytest.raises(PackError):
            found.add(-1)
        with pytest.raises(PackError):
            "a" in found  # noqa: B015


def test_tail_calls() -> None:
    text = """
        r2 = map[m]
        r3 = {index}
        call bpf_tail_call
        r0 = 1
        exit
    """
    with ProgArray(4, name="jumps") as found, load("r0 = 42\nexit", {}) as target:
        found[2] = target
        with load(text.format(index=2), {"m": found}) as program:
            assert run(program) == 42
        with load(text.format(index=1), {"m": found}) as program:
            assert run(program) == 1
            assert 1 not in found
            found[1] = target.fileno()
            assert run(program) == 42
        assert list(found) == [1, 2]
        assert len({program_id for _, program_id in found.items()}) == 1
        assert found[1] > 0
        del found[2]
        assert 2 not in found
        with pytest.raises(IndexError, match="0 to 3"):
            found[4] = target
        with pytest.raises(PackError, match="descriptor"):
            found[0] = "program"
        with open("/dev/null") as other, pytest.raises(KernelError):
            found[0] = other
        found.clear()
        assert not list(found.items())


INNER = MapSpec(MapType.HASH, u32, u64, 16, "inner")


@pytest.mark.parametrize("make", [lambda: HashOfMaps(u32, INNER, 8), lambda: ArrayOfMaps(INNER, 8)])
def test_maps_of_maps(make: Callable[[], Any]) -> None:
    text = KEY_3 + """
        r1 = r0
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = 1
        lock *(u64 *)(r0 +0) += r1
    """
    with make() as outer, INNER.create() as first, HashMap(u32, u64, 16) as second:
        outer[3] = first
        first[3] = 10
        assert outer[3] == first.id
        assert dict(outer.items()) == {3: first.id}
        with load(text + END, {"m": outer}) as program:
            run(program)
            assert first[3] == 11
            outer[3] = second
            run(program)
        assert first[3] == 11
        assert len(second) == 0
        second[3] = 5
        with outer.inner(3) as again:
            assert isinstance(again, HashMap)
            assert again[3] == 5
            assert again.id == second.id
        with pytest.raises(KeyError):
            outer[2]
        with Array(u64, 3) as wrong, pytest.raises(KernelError):
            outer[2] = wrong
        del outer[3]
        assert list(outer) == []


def test_inner_map_outlives_its_object() -> None:
    with HashOfMaps(u32, INNER, 8) as outer:
        with HashMap(u32, u64, 16) as inner:
            inner[1] = 2
            outer[1] = inner
        with outer.inner(1) as again:
            assert dict(again.items()) == {1: 2}


def test_stack_traces() -> None:
    text = """
        r2 = map[m]
        r3 = 0x200
        call bpf_get_stackid
        exit
    """
    with StackTrace(64, 128) as found, load(text, {"m": found}, ProgType.RAW_TRACEPOINT) as program:
        assert list(found) == []
        number = run(program, cpu=online_cpus()[0])
        frames = found[number]
        assert 0 < len(frames) <= 64
        assert all(frame > 1 << 63 for frame in frames)
        assert dict(found.items()) == {number: frames}
        assert found.pop(number) == frames
        assert number not in found
        with pytest.raises(KernelError):
            found[1] = (1,) * 64


@pytest.mark.needs("task_storage")
def test_task_storage() -> None:
    text = """
        call bpf_get_current_task_btf
        r2 = r0
        r1 = map[m]
        r3 = 0
        r4 = 1
        call bpf_task_storage_get
        if r0 == 0 goto out
        r1 = 1
        lock *(u64 *)(r0 +0) += r1
    """
    with TaskStorage(Task) as found, load(text + END, {"m": found}, ProgType.RAW_TRACEPOINT) as program:
        pidfd = os.pidfd_open(os.getpid())
        try:
            assert pidfd not in found
            run_here(program, 7)
            assert found[pidfd] == Task(7)
            found[pidfd] = Task(100)
            run_here(program, 1)
            assert found.pop(pidfd) == Task(101)
            assert found.get(pidfd) is None
        finally:
            os.close(pidfd)
        with pytest.raises(KernelError):
            found[pidfd]


def run_here(program: Program, times: int) -> None:
    """On this CPU, in this task: elsewhere it would run in another task's context."""
    before = os.sched_getaffinity(0)
    cpu = min(before)
    os.sched_setaffinity(0, {cpu})
    try:
        run(program, cpu=cpu, times=times)
    finally:
        os.sched_setaffinity(0, before)


DRAIN = """
    r1 = map[ring]
    r2 = subprog[each]
    r3 = 0
    r4 = 0
    call bpf_user_ringbuf_drain
    exit
each:
    r6 = r1
    r1 = r10
    r1 += -8
    r2 = 8
    r3 = r6
    r4 = 0
    r5 = 0
    call bpf_dynptr_read
    if r0 != 0 goto failed
    *(u32 *)(r10 -12) = 0
    r1 = map[sum]
    r2 = r10
    r2 += -12
    call bpf_map_lookup_elem
    if r0 == 0 goto failed
    r1 = *(u64 *)(r10 -8)
    lock *(u64 *)(r0 +0) += r1
failed:
    r0 = 0
    exit
"""


@pytest.mark.needs("user_ringbuf")
def test_user_ring_buffer() -> None:
    """More goes through than fits at once, so positions wrap around several times."""
    page = os.sysconf("SC_PAGESIZE")
    with UserRingBuffer(page, name="orders") as ring, Array(u64) as total, load(
        DRAIN, {"ring": ring, "sum": total}
    ) as program:
        size = ring.max_entries
        assert ring.free == size
        expected = sent = 0
        for i in range(3 * size // 16):
            for record in (u64(i), Pair(i, 1), (i).to_bytes(8, "little") + bytes(i % 50)):
                try:
                    ring.send(record)
                except KernelError as full:
                    assert full.errno == errno.ENOSPC
                    assert run(program) == sent
                    assert total[0] == expected
                    assert ring.free == size
                    sent = 0
                    ring.send(record)
                sent += 1
                expected += i
        assert run(program) == sent
        assert total[0] == expected
        with pytest.raises(PackError, match="orders"):
            ring.send(bytes(size))
        ring.send(bytes(size - 8))
        assert ring.free == 0
        for wrong in (1, "text", None):
            with pytest.raises(PackError):
                ring.send(wrong)
        run(program)
        before = total[0]
        for view in (memoryview(array("I", [5, 0, 7])), memoryview(bytes([9, 9] + [0] * 14))[::2]):
            ring.send(view)
        assert run(program) == 2 and total[0] == before + 5 + 9
    with pytest.raises(ClosedError):
        ring.send(b"")
