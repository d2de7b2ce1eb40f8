"""The ring buffer reader on memory that the test writes: what a kernel does rarely, or should never do."""

from __future__ import annotations

import asyncio
import mmap
import os
import select
import struct
import threading
from collections.abc import Iterator

import pytest

from pybpf.errors import BpfError
from pybpf.maps.decode import Decoder
from pybpf.maps.events import CHUNK, EventReader, Take
from pybpf.maps.ringbuf import Ring
from pybpf.maps.runs import RING_SKIP
from pybpf.sys.fd import Fd

pytestmark = pytest.mark.pure

PAGE = mmap.PAGESIZE
BUSY = 1 << 31
LONG = 60.0


class Memory:
    """A file laid out like a ring buffer map: two control pages, and the data twice in a row."""

    def __init__(self, size: int = PAGE, position: int = 0) -> None:
        self.size = size
        self.position = position
        self.fd = Fd(os.memfd_create("ring"), "memory")
        os.ftruncate(self.fd.fileno(), 2 * PAGE + 2 * size)
        self._put(0, position)
        self._put(PAGE, position)

    def _put(self, offset: int, number: int) -> None:
        os.pwrite(self.fd.fileno(), struct.pack("=Q", number), offset)

    @property
    def consumed(self) -> int:
        return int(struct.unpack("=Q", os.pread(self.fd.fileno(), 8, 0))[0])

    def write(self, *records: bytes, flags: int = 0) -> int:
        """Append records; returns the position of the first."""
        before = self.position
        data = b"".join(
            struct.pack("=II", len(record) | flags, 0) + record + bytes(-len(record) % 8) for record in records
        )
        place = self.position % self.size
        first = data[: self.size - place]
        for start in (2 * PAGE, 2 * PAGE + self.size):
            os.pwrite(self.fd.fileno(), first, start + place)
            os.pwrite(self.fd.fileno(), data[len(first) :], start)
        self.position += len(data)
        self._put(PAGE, self.position)
        return before

    def header(self, position: int, length: int) -> None:
        for start in (2 * PAGE, 2 * PAGE + self.size):
            os.pwrite(self.fd.fileno(), struct.pack("=I", length), start + position % self.size)


class MemoryReader(EventReader[bytes]):
    """A reader of such memory."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory.fd.dup(), "memory", Decoder(None, RING_SKIP))
        self._sources = [Ring(memory.fd, memory.size)]

    def _kernel_lost(self) -> int:
        return 0


@pytest.fixture(params=[0, PAGE - 8, (1 << 40) - 16])
def memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    made = Memory(position=request.param)
    with made.fd:
        yield made


def test_memory_is_given_back_once_read(memory: Memory) -> None:
    with MemoryReader(memory) as reader:
        for size in (0, 1, 8, 100):
            memory.write(*[bytes([size]) * size] * 9)
            assert reader.read() == [bytes([size]) * size] * 9
            assert memory.consumed == memory.position
    with MemoryReader(memory) as reader:  # goes on where the other stopped
        memory.write(b"next")
        assert reader.read() == [b"next"]


def test_unfinished_record_holds_back_those_behind_it(memory: Memory) -> None:
    with MemoryReader(memory) as reader:
        memory.write(b"first")
        busy = memory.write(b"second", flags=BUSY)
        memory.write(b"third", b"other")
        assert reader.read() == [b"first"]
        assert memory.consumed == busy
        assert reader.poll(0.01) == []
        assert list(reader.events(timeout=0.01)) == []
        timer = threading.Timer(0.02, memory.header, (busy, len(b"second")))
        timer.start()
        assert reader.poll(LONG) == [b"second", b"third", b"other"]
        timer.join()
        assert memory.consumed == memory.position


class CountingRing(Ring):
    """Counts how often it is looked at."""

    looks = 0

    def fill(self, decoder: Take) -> bool:
        self.looks += 1
        return super().fill(decoder)


def test_unfinished_record_is_not_waited_for_in_a_busy_loop(memory: Memory) -> None:
    """The descriptor is ready all the time."""
    with MemoryReader(memory) as reader:
        ring = CountingRing(memory.fd, memory.size)
        reader._sources[0].close()
        reader._sources = [ring]
        memory.write(b"busy", flags=BUSY)
        reader._epoll.register(reader._hammer.fileno(), select.EPOLLOUT)  # a file of memory cannot be registered
        assert reader.poll(0.05) == []
        assert 0 < ring.looks < 200


def test_asyncio_waits_for_an_unfinished_record(memory: Memory) -> None:
    async def main() -> list[bytes]:
        got = []
        with MemoryReader(memory) as reader:
            busy = memory.write(b"busy", flags=BUSY)
            asyncio.get_running_loop().call_later(0.02, memory.header, busy, 4)
            async for event in reader:
                got.append(event)
                break
        return got

    assert asyncio.run(main()) == [b"busy"]


@pytest.mark.parametrize("length", [9, 4000, (1 << 30) - 1])
def test_record_that_is_too_long_is_refused(memory: Memory, length: int) -> None:
    with MemoryReader(memory) as reader:
        memory.write(b"fine")
        wrong = memory.write(b"wrong")
        memory.header(wrong, length)
        for _ in range(2):
            with pytest.raises(BpfError, match="something wrote to its memory"):
                reader.poll()
        with pytest.raises(BpfError, match="something wrote to its memory"):
            next(iter(reader))


@pytest.mark.parametrize("jump", [-8, PAGE + 8, 1 << 62])
def test_positions_that_cannot_be_are_refused(jump: int) -> None:
    memory = Memory(position=PAGE)
    with memory.fd, MemoryReader(memory) as reader:
        memory._put(PAGE, PAGE + jump)
        with pytest.raises(BpfError, match="said to be used"):
            reader.poll()


def test_large_rings_are_read_in_parts() -> None:
    memory = Memory(size=4 * CHUNK)
    with memory.fd, MemoryReader(memory) as reader:
        count = 3 * CHUNK // 128
        memory.write(*[bytes(120)] * count)
        assert len(reader.read(5)) == 5
        assert 0 < memory.consumed <= CHUNK
        assert len(reader.read(1 << 30)) == count - 5
        memory.write(bytes(2 * CHUNK), b"behind a record that is larger than a part")
        assert list(map(len, reader.read())) == [2 * CHUNK, 42]
