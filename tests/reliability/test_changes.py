"""What is traced changes under the tracer: its file is replaced, deleted or cut, or the process ends too early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybpf import BpfError, NotFoundError, Tracer
from pybpf.attach import perf_event
from pybpf.attach.kinds.uprobe import attach_place, find_place
from pybpf.attach.kinds.usdt import attach_usdt, find_usdt_places
from pybpf.attach.semaphore import Semaphore, semaphore_address
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import ProgType
from tests.attach.targets import NOTHING, ROUNDS, finish, native_program, waiting

pytestmark = [pytest.mark.root, pytest.mark.native, pytest.mark.needs("uprobe")]

#: maps a file as a library is mapped, and calls what is at an offset of it as often as a line of input says
_USER = """
import ctypes, mmap, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
path, offset = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
with open(path, "rb") as file:
    at = libc.mmap(None, ctypes.c_size_t(65536), mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file.fileno(),
                   ctypes.c_long(0))
work = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_ulong)(at + offset)
print(flush=True)
for line in sys.stdin:
    for number in range(int(line)):
        assert work(number) == 2 * number
    print(flush=True)
"""


@pytest.fixture
def native(tmp_path: Path) -> str:
    return native_program(tmp_path / "native")


def _counting(pid: int | None, path: str) -> tuple[Tracer, Any]:
    tracer = Tracer(pid=pid)
    hits = tracer.count()

    @tracer.uprobe(path, "work")
    def on_work() -> None:
        hits.add()

    return tracer, hits


def _counts_a_run(path: str) -> None:
    """A tracer of today sees all calls of a process of today."""
    with waiting([path]) as process:
        tracer, hits = _counting(process.pid, path)
        with tracer:
            finish(process)
            assert hits.value == ROUNDS


def test_a_program_that_is_replaced_while_it_is_traced(native: str, tmp_path: Path) -> None:
    """The process runs what it ran; who starts the new one is not traced; the next tracer means the new one."""
    with waiting([native]) as process:
        tracer, hits = _counting(process.pid, native)
        with tracer:
            os.rename(native_program(tmp_path / "new", names=("_start", "other")), native)
            with waiting([native]) as another:
                finish(another)
            assert hits.value == 0
            finish(process)
            assert hits.value == ROUNDS
    tracer, _ = _counting(None, native)
    with pytest.raises(NotFoundError, match="work"), tracer:
        pass
    os.rename(native_program(tmp_path / "newest"), native)
    _counts_a_run(native)


def test_a_program_that_is_deleted_while_it_is_traced(native: str) -> None:
    with waiting([native]) as process:
        tracer, hits = _counting(process.pid, native)
        with tracer:
            os.unlink(native)
            finish(process)
            assert hits.value == ROUNDS
    tracer, _ = _counting(None, native)
    with pytest.raises(NotFoundError, match="native"), tracer:
        pass
    _counts_a_run(native_program(Path(native)))


def test_a_library_that_is_cut_while_it_is_traced(native: str) -> None:
    """Its user dies of that, traced or not; the tracer goes on, and says of the file what is the matter."""
    offset = find_place(native, "work").offset
    user = subprocess.Popen([sys.executable, "-S", "-c", _USER, native, str(offset)], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert user.stdin is not None and user.stdout is not None
        assert user.stdout.readline() == "\n"
        tracer, hits = _counting(user.pid, native)
        with tracer:
            print(ROUNDS, file=user.stdin, flush=True)
            assert user.stdout.readline() == "\n"
            assert hits.value == ROUNDS
            os.truncate(native, 0)
            user.communicate(f"{ROUNDS}\n")
            assert user.returncode == -signal.SIGBUS
            assert hits.value == ROUNDS
    finally:
        user.kill()
        user.communicate()
    tracer, _ = _counting(None, native)
    with pytest.raises(BpfError, match="native") as caught, tracer:
        pass
    assert "\n" not in str(caught.value)
    os.unlink(native)
    _counts_a_run(native_program(Path(native)))


@pytest.fixture
def nothing() -> Iterator[Program]:
    with Program.load(NOTHING) as program:
        yield program


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_a_process_that_ends_before_its_function_is_probed(native: str, nothing: Program) -> None:
    with waiting([native]) as process:
        place = find_place(None, "work", pid=process.pid)
        _end(process)
        with pytest.raises(NotFoundError, match=r"native:work.*\b(no process|has ended|no such file)"):
            attach_place(nothing, place, pid=process.pid)
    _counts_a_run(native)


def test_a_process_that_ends_before_its_own_probe_is_attached(native: str) -> None:
    with waiting([native]) as process:
        places = find_usdt_places(native, "p:guarded", pid=process.pid)
        _end(process)
        with pytest.raises(NotFoundError, match="p:guarded"):
            attach_usdt(NOTHING, places, pid=process.pid)
    _counts_a_run(native)


def test_a_process_that_ends_about_its_counter_of_listeners(native: str) -> None:
    """Before it is raised, and before it is lowered."""
    with waiting([native]) as process:
        binary, site = find_usdt_places(native, "p:guarded", pid=process.pid)[0]
        address = semaphore_address(process.pid, binary, site.semaphore)
        raised = Semaphore(process.pid, address)
        _end(process)
        raised.close()
        with pytest.raises(NotFoundError, match=f"no process {process.pid}"):
            Semaphore(process.pid, address)


def test_a_process_that_ends_before_it_is_counted(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[perf_event.__module__]
    threads = module._threads
    spec = ProgramSpec(ProgType.PERF_EVENT, NOTHING.code, "test")
    with waiting([native]) as process, Program.load(spec) as program:

        def listed(pid: int) -> list[int]:
            found: list[int] = threads(pid)
            _end(process)
            return found

        monkeypatch.setattr(module, "_threads", listed)
        with pytest.raises(NotFoundError, match=f"process {process.pid} has ended"):
            perf_event(program, "page-faults", period=1, pid=process.pid)


def test_a_process_that_ends_before_its_tracer_starts(native: str) -> None:
    with waiting([native]) as process:
        tracer, _ = _counting(process.pid, native)
        _end(process)
        with pytest.raises(NotFoundError, match=f"no process {process.pid}"), tracer:
            pass
    _counts_a_run(native)
