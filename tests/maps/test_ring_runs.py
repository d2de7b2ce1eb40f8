"""The parsers of ring memory: whatever is written is read, whatever is corrupt is refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybpf.errors import BpfError, PackError
from pybpf.maps.decode import Decoder
from pybpf.maps.fence import Fence
from pybpf.maps.runs import PERF_SKIP, RING_SKIP, equal_run, perf_runs, ring_runs, stride
from pybpf.types import Struct, u8, u32

pytestmark = pytest.mark.pure

SIZE = 4096
BUSY, DISCARD = 1 << 31, 1 << 30
SAMPLE, LOST, THROTTLE = 9, 2, 5


class Six(Struct):
    """A type whose size is no multiple of 8."""

    a: u32
    b: u8[2]


#: (size of the data, how many in a row, bits of the header)
ring_groups = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from([1, 1, 2, 3, 40, 150]), st.sampled_from([0, 0, 0, DISCARD])),
    max_size=20,
)


def ring_record(size: int, flags: int, filling: int) -> bytes:
    data = bytes((filling + i) & 0xFF for i in range(size))
    # bits 0 to 31 of the second word are the kernel's own and differ from record to record
    return (struct.pack("=II", size | flags, filling * 77) + data).ljust(stride(RING_SKIP, size), b"\xee")


def ring_memory(records: list[bytes], start: int) -> memoryview:
    """The data pages, mapped twice, with ``records`` from byte ``start`` on."""
    once = bytearray(b"\xff" * SIZE)
    for i, byte in enumerate(b"".join(records)):
        once[(start + i) % SIZE] = byte
    return memoryview(bytes(once) * 2)


@given(ring_groups, st.integers(0, SIZE // 8 - 1), st.sampled_from([1, 8, 100, 1000, SIZE]), st.booleans())
def test_ring_gives_back_what_was_written(
    groups: list[tuple[int, int, int]], start: int, budget: int, stopped: bool
) -> None:
    start *= 8
    records: list[bytes] = []
    expected: list[bytes] = []
    used = 0
    for size, count, flags in groups:
        for _ in range(count):
            record = ring_record(size, flags, len(records))
            if used + len(record) > SIZE - 300:
                break
            records.append(record)
            used += len(record)
            if not flags:
                expected.append(record[8 : 8 + size])
    if stopped:  # one that is being written, with a finished one behind it
        records += [ring_record(16, BUSY, 1), ring_record(16, 0, 2)]
    memory = ring_memory(records, start)
    decoder: Decoder[bytes] = Decoder(None, RING_SKIP)
    got: list[bytes] = []
    position = start
    stop = start + sum(map(len, records))
    while True:
        runs, end = ring_runs(memory.cast("I"), position, stop, budget)
        got += decoder(bytes(memory[position:end]), runs).events
        if end == position:
            break
        position = end
    assert got == expected
    assert position == start + used


def test_ring_refuses_a_record_beyond_what_was_written() -> None:
    memory = ring_memory([ring_record(16, 0, 0), ring_record(2000, 0, 1)], 0)
    runs, end = ring_runs(memory.cast("I"), 0, 24, SIZE)
    assert (len(runs), end) == (1, 24)
    with pytest.raises(BpfError, match="byte 24 is 2008 bytes long, but 100 are there"):
        ring_runs(memory.cast("I"), 0, 124, SIZE)


@given(st.binary(max_size=256), st.booleans())
def test_ring_with_any_bytes_ends(data: bytes, zeroed: bool) -> None:
    memory = memoryview(data.ljust(512, b"\0" if zeroed else b"\x10"))
    try:
        runs, end = ring_runs(memory.cast("I"), 0, 256, 256)
    except BpfError:
        return
    assert 0 <= end <= 256
    list(Decoder(None, RING_SKIP)(bytes(memory[:end]), runs).events)


def perf_record(kind: int, data: bytes, misc: int = 1) -> bytes:
    return struct.pack("=IHH", kind, misc, 8 + len(data)) + data


def sample(data: bytes, misc: int = 1) -> bytes:
    padded = data + bytes(-(4 + len(data)) % 8)
    return perf_record(SAMPLE, struct.pack("=I", len(padded)) + padded, misc)


perf_groups = st.lists(
    st.one_of(
        st.tuples(st.just(SAMPLE), st.integers(1, 100), st.sampled_from([1, 1, 2, 70]), st.sampled_from([1, 2])),
        st.tuples(st.just(LOST), st.integers(1, 1 << 40), st.just(1), st.just(0)),
        st.tuples(st.just(THROTTLE), st.just(0), st.just(1), st.just(0)),
    ),
    max_size=20,
)


@given(perf_groups, st.integers(130, 3000))
def test_perf_gives_back_what_was_written(groups: list[tuple[int, int, int, int]], part: int) -> None:
    memory = b""
    expected: list[bytes] = []
    lost = 0
    for kind, number, count, misc in groups:
        for i in range(count):
            if kind == SAMPLE:
                data = bytes((i + j) & 0xFF for j in range(number))
                expected.append(data + bytes(-(4 + number) % 8))
                memory += sample(data, misc)
            elif kind == LOST:
                lost += number
                memory += perf_record(LOST, struct.pack("=QQ", 7, number))
            else:
                memory += perf_record(kind, bytes(24))
    decoder: Decoder[bytes] = Decoder(None, PERF_SKIP, 8)
    got: list[bytes] = []
    position = counted = 0
    while position < len(memory):
        data = memory[position : position + part]
        scan = perf_runs(data, complete=position + len(data) == len(memory))
        assert scan.end > 0
        got += decoder(data, scan.runs).events
        counted += scan.lost
        position += scan.end
    assert got == expected
    assert counted == lost


@pytest.mark.parametrize(
    "data",
    [
        bytes(8),
        bytes(5),
        struct.pack("=IHH", SAMPLE, 0, 4) + bytes(8),
        struct.pack("=IHH", SAMPLE, 0, 8),
        struct.pack("=IHH", SAMPLE, 0, 13) + bytes(8),
        struct.pack("=IHH", SAMPLE, 0, 64) + bytes(8),
        struct.pack("=IHHI", SAMPLE, 0, 16, 400) + bytes(4),
        perf_record(LOST, bytes(8)),
        sample(b"fine") + bytes(16),
    ],
)
def test_perf_refuses_wrong_sizes(data: bytes) -> None:
    with pytest.raises(BpfError, match="cannot read perf buffer: the record at byte"):
        perf_runs(data, complete=True)


@given(st.binary(max_size=200), st.booleans())
def test_perf_with_any_bytes_ends(data: bytes, complete: bool) -> None:
    for head in (b"", sample(b"x" * 12) * 3):
        try:
            scan = perf_runs(head + data, complete)
        except BpfError:
            continue
        assert scan.end <= len(head + data)


@given(st.lists(st.sampled_from([3, 3, 3, 3, 4]), min_size=1, max_size=20), st.integers(1, 5), st.sampled_from("IQ"))
def test_equal_run_counts(pieces: list[int], step: int, code: str) -> None:
    values = [value for value in pieces for _ in range(37)]
    data = struct.pack(f"={len(values) * step}{code}", *(value for value in values for _ in range(step)))
    words = memoryview(data).cast(code)
    same = next((i for i, value in enumerate(values) if value != values[0]), len(values))
    assert equal_run(words, 0, step, len(values)) == same
    assert equal_run(words, 0, step, 1) == 1


def rings(*sizes: int, flags: int = 0) -> tuple[bytes, list[Any]]:
    records = [ring_record(size, flags, i) for i, size in enumerate(sizes)]
    data = b"".join(records)
    runs, end = ring_runs(memoryview(data).cast("I"), 0, len(data), SIZE)
    assert end == len(data)
    return data, runs


def each(events: Iterator[Any]) -> list[Any]:
    """All that an iterator gives; in place of an exception, its class."""
    got: list[Any] = []
    while True:
        try:
            got.append(next(events))
        except StopIteration:
            return got
        except Exception as error:
            got.append(type(error))


@pytest.mark.parametrize("sizes", [(6,), (6, 6), (6,) * 100])
def test_types_are_unpacked(sizes: tuple[int, ...]) -> None:
    assert Six.__layout__.size == 8
    data, runs = rings(*(8 for _ in sizes))
    events = list(Decoder(Six, RING_SKIP)(data, runs).events)
    assert [event.b[0] for event in events] == [i + 4 for i in range(len(sizes))]
    assert all(type(event) is Six for event in events)


@pytest.mark.parametrize("wrong", [[9], [7, 7], [8, 0, 8], [16] * 40])
def test_wrong_size_raises_in_its_turn(wrong: list[int]) -> None:
    sizes = [8, 8, *wrong, 8, 8, 8, 12, 8]
    data, runs = rings(*sizes)
    got = each(Decoder(Six, RING_SKIP)(data, runs).events)
    assert [item is not PackError for item in got] == [size == 8 for size in sizes]
    assert [item.b[0] for item in got if item is not PackError] == [i + 4 for i, size in enumerate(sizes) if size == 8]


def test_wrong_size_names_both() -> None:
    data, runs = rings(12)
    with pytest.raises(PackError, match="struct Six, which has 8 bytes: the program sent 12"):
        next(Decoder(Six, RING_SKIP)(data, runs).events)


def test_padded_perf_sample_fits_its_type() -> None:
    data = sample(Six(a=5).__layout__.pack(Six(a=5))) * 3
    assert list(Decoder(Six, PERF_SKIP, 8)(data, perf_runs(data, True).runs).events) == [Six(a=5)] * 3


def test_function_makes_events_and_may_raise() -> None:
    data, runs = rings(1, 2, 2, 2, 3, 3, 3, 0)
    assert list(Decoder(len, RING_SKIP)(data, runs).events) == [1, 2, 2, 2, 3, 3, 3, 0]
    inverse = each(Decoder(lambda raw: 6 // len(raw), RING_SKIP)(data, runs).events)
    assert inverse == [6, 3, 3, 3, 2, 2, 2, ZeroDivisionError]


def test_fence_survives_an_interrupt() -> None:
    fence = Fence(ordered=False)
    for _ in range(3):
        fence()
    assert fence._lock is not None
    fence._lock.release()  # as if KeyboardInterrupt had come in its middle
    fence()
    assert fence._lock.locked()


def test_events_that_nobody_wants_can_be_garbage() -> None:
    """CPython crashes on a memoryview in a cycle of garbage while an iterator of ``struct`` holds it."""
    code = (
        "import gc; gc.disable()\n"
        "from pybpf.maps.decode import Decoder\n"
        "from pybpf.types import Struct, u64\n"
        "class Event(Struct):\n    number: u64\n"
        "for kind in (Event, None, len):\n"
        "    for runs in ([(0, 50, 8)], [(0, 9, 8), (144, 1, 8), (160, 40, 8)]):\n"
        "        cycle = [Decoder(kind, 8)(bytes(16 * 50), runs)]\n"
        "        cycle.append(cycle)\n"
        "        next(cycle[0].events)\n"
        "        print(cycle[0].left)\n"
        "        del cycle\n"
        "        gc.collect()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["49"] * 6), done.stderr
