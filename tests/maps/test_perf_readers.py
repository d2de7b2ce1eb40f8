"""Perf buffer readers on the running kernel: watermarks, buffers that are written over, CPUs that come and go."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import subprocess
import sys
import time
from typing import Any

import pytest

from pybpf.errors import BpfError, KernelError
from pybpf.maps import cpubuf, perfbuf
from pybpf.maps.perfbuf import PerfBufferReader
from pybpf.sys.bpf import Cmd, MapType, bpf
from pybpf.sys.cpus import online_cpus
from pybpf.sys.perf import Ioctl, perf_ioctl
from tests.maps.emitter import Emitter, Event, Sent, create_map
from tests.maps.readers import LONG, PAGE, numbers

pytestmark = [pytest.mark.root, pytest.mark.generic]


def test_perf_watermarks_and_sizes() -> None:
    with Emitter("perf") as emitter:
        with PerfBufferReader(emitter, Event, wakeup=10) as reader:
            emitter.send(9, cpu=0)
            assert not select.select([reader], [], [], 0)[0]
            assert len(reader.poll(0)) == 9
            emitter.send(10, cpu=0)
            assert select.select([reader], [], [], LONG)[0]
        with PerfBufferReader(emitter, Event, watermark=800, size=2 * PAGE) as reader:
            emitter.send(3, cpu=0)
            assert not select.select([reader], [], [], 0)[0]
            emitter.send(30, cpu=0)
            assert select.select([reader], [], [], LONG)[0]
            assert len(reader.poll(0)) == 33
        wrong: dict[str, int]
        for wrong in ({"size": 0}, {"size": 1 << 40}, {"wakeup": 0}, {"watermark": 1 << 20, "size": 4096}):
            with pytest.raises(BpfError, match="perf buffer"):
                PerfBufferReader(emitter, **wrong)


def test_perf_map_needs_an_element_for_each_cpu() -> None:
    if len(online_cpus()) < 2:
        pytest.skip("needs two CPUs")
    with create_map(MapType.PERF_EVENT_ARRAY, 1, 4, 4) as small, pytest.raises(BpfError, match="it has 1 elements"):
        PerfBufferReader(small)


LOCKED_MEMORY = """
import resource
from pybpf.errors import PermissionDenied
from pybpf.maps import PerfBufferReader, PerfEventArray

with PerfEventArray() as events:
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, hard))
    try:
        PerfBufferReader(events, size=1 << 25).close()
    except PermissionDenied as error:
        print(error)
"""


def test_refused_memory_says_what_to_do() -> None:
    with open("/proc/sys/kernel/perf_event_paranoid") as file:
        if int(file.read()) < 0:
            pytest.skip("kernel.perf_event_paranoid lifts the limit here")

    def drop_ipc_lock() -> None:
        assert ctypes.CDLL(None).prctl(24, 14, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_IPC_LOCK

    done = subprocess.run(
        [sys.executable, "-c", LOCKED_MEMORY], preexec_fn=drop_ipc_lock, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("cannot map the memory of the perf buffer of CPU 0 for map")
    assert "perf_event_mlock_kb" in done.stdout
    assert "use smaller buffers" in done.stdout


def test_perf_is_taken_out_of_the_map_on_close() -> None:
    with Emitter("perf") as emitter:
        with PerfBufferReader(emitter) as reader:
            emitter.send(1, cpu=0)
            assert len(reader.read()) == 1
        emitter.send(3, cpu=0)
        assert emitter.refused() == 3
        for cpu in online_cpus():
            with pytest.raises(FileNotFoundError):
                bpf(Cmd.MAP_DELETE_ELEM, map_fd=emitter.fd.fileno(), key=struct.pack("=I", cpu))


def test_perf_memory_is_given_back_when_events_are_taken() -> None:
    with Emitter("perf") as emitter, PerfBufferReader(emitter, Event, size=1) as reader:
        held = PAGE // 80
        emitter.send(held, cpu=0)
        assert len(reader.read(1)) == 1
        emitter.send(held - 1, cpu=0)
        assert emitter.refused() == 0
        assert len(reader.read()) == 2 * held - 2


def test_lost_is_known_after_close() -> None:
    with Emitter("perf") as emitter:
        with PerfBufferReader(emitter, size=1) as reader:
            emitter.send(2 * PAGE // 80, cpu=0)
            reader.read()
            emitter.send(1, cpu=0)
            reader.read()
        assert reader.lost == emitter.refused() > 0


def test_overwriting_keeps_the_newest() -> None:
    with Emitter("perf") as emitter, PerfBufferReader(emitter, Event, size=PAGE, overwrite=True) as reader:
        emitter.send(10, cpu=0)
        assert numbers(reader.poll(LONG)) == list(range(10))
        assert reader.read() == []
        held = PAGE // 80
        for _ in range(3):
            sent = emitter.send(3 * held + 7, cpu=0)
            assert numbers(reader.read()) == list(sent)[-held:]
        sent = emitter.send(5, cpu=0)
        assert numbers(reader.read()) == list(sent)
        assert emitter.refused() == reader.lost == 0


def test_overwriting_with_sizes_that_differ() -> None:
    emitter = Emitter("perf", size=17, mask=63)
    with emitter, PerfBufferReader(emitter, Sent.parse, size=PAGE, overwrite=True) as reader:
        for turn in range(12):
            sent = emitter.send(29 + 23 * turn, cpu=0)
            got = [event.number for event in reader.read()]
            assert len(got) >= min(len(sent), PAGE // 96)
            assert got == list(sent)[-len(got) :]


def test_buffers_stay_while_their_cpu_is_there() -> None:
    with Emitter("perf") as emitter, PerfBufferReader(emitter, Event) as reader:
        assert reader.poll(0) == []
        before = os.listdir("/proc/self/fd")
        for _ in range(3):
            time.sleep(0.4)
            assert reader.poll(0) == []
            assert os.listdir("/proc/self/fd") == before
            assert all(buffer.alive() for buffer in reader._buffers.values())


@pytest.mark.parametrize("late", [1, 20, 1000])
@pytest.mark.parametrize("before", [10, 3 * PAGE // 80])
def test_overwriting_while_it_is_read(before: int, late: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause does not stop a writer who had begun before: what that one overwrites is not delivered."""

    class LateWriter(cpubuf.OverwriteBuffer):
        armed = False

        def _copy(self, position: int, size: int) -> bytes:
            if LateWriter.armed and size:
                LateWriter.armed = False
                perf_ioctl(self.event, Ioctl.PAUSE_OUTPUT, 0)
                emitter.send(late, cpu=0)
                perf_ioctl(self.event, Ioctl.PAUSE_OUTPUT, 1)
            return super()._copy(position, size)

    monkeypatch.setattr(perfbuf, "OverwriteBuffer", LateWriter)
    held = PAGE // 80
    with Emitter("perf") as emitter, PerfBufferReader(emitter, Event, size=PAGE, overwrite=True) as reader:
        sent = list(emitter.send(before, cpu=0))
        LateWriter.armed = True
        left = min(before, max((PAGE - 80 * late) // 80, 0))
        assert numbers(reader.read()) == sent[len(sent) - left :]
        assert numbers(reader.read()) == list(range(before + late))[-min(late, held) :]


@pytest.mark.parametrize("overwrite", [False, True])
def test_event_that_is_gone(overwrite: bool) -> None:
    """A descriptor that somebody else has closed gives one of our errors, which names the buffer."""
    with Emitter("perf") as emitter, PerfBufferReader(emitter, Event, overwrite=overwrite) as reader:
        (buffer, *_) = reader._buffers.values()
        kept = os.dup(buffer.event.fileno())
        os.dup2(emitter.program.fileno(), buffer.event.fileno())
        try:
            with pytest.raises(KernelError, match=r"cannot (read the counters of|pause) the perf buffer of CPU"):
                assert reader.read() == [] and reader.lost
        finally:
            os.dup2(kept, buffer.event.fileno())
            os.close(kept)


@pytest.mark.parametrize("at", ["the map's element", "the count"])
def test_close_inside_close(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a signal handler, which can strike anywhere."""
    with Emitter("perf", most=1) as emitter:
        reader = PerfBufferReader(emitter, Event)
        calls = []

        def then_close(call: Any) -> Any:
            def wrapper(*args: Any, **fields: Any) -> Any:
                calls.append(call)
                if len(calls) == 1:
                    reader.close()
                return call(*args, **fields)

            return wrapper

        if at == "the count":
            monkeypatch.setattr(cpubuf.CpuBuffer, "lost", then_close(cpubuf.CpuBuffer.lost))
        else:
            monkeypatch.setattr(perfbuf, "bpf", then_close(bpf))
        buffers = list(reader._buffers.values())
        reader.close()
        reader.close()
        assert len(calls) >= len(online_cpus())
        assert all(buffer.event.closed and buffer._memory.closed for buffer in buffers)


def cpu_switch(cpu: int, on: bool) -> None:
    with open(f"/sys/devices/system/cpu/cpu{cpu}/online", "w") as file:
        file.write(str(int(on)))


@pytest.mark.skipif(os.environ.get("PYBPF_VM") != "1", reason="switches a CPU off: only in a virtual machine")
@pytest.mark.parametrize("missed", [False, True])
def test_cpus_go_and_come_back(missed: bool) -> None:
    """
    :param missed: the reader does not look while the CPU is away.
    """
    cpu = online_cpus()[-1]
    if cpu == 0 or not os.path.exists(f"/sys/devices/system/cpu/cpu{cpu}/online"):
        pytest.skip("this machine's CPUs cannot be switched off")
    with Emitter("perf") as emitter, PerfBufferReader(emitter, Event) as reader:
        emitter.send(5, cpu)
        try:
            cpu_switch(cpu, False)
            if not missed:
                time.sleep(1.1)
                assert numbers(reader.read()) == list(range(5))
                assert reader.poll(0.1) == []
                with pytest.raises(OSError, match="") as info:
                    emitter.send(1, cpu)
                assert info.value.errno == errno.ENXIO
        finally:
            cpu_switch(cpu, True)
        time.sleep(1.1)
        got = numbers(reader.read())
        assert got == (list(range(5)) if missed else [])
        refused = emitter.refused()
        sent = emitter.send(4, cpu)
        assert numbers(reader.poll(LONG)) == list(sent)
        assert emitter.refused() == refused
