"""Iterators over maps, tasks and elements: what this process made is found, exactly."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from pybpf.asm import (
    DW,
    FP,
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    Code,
    W,
    add,
    call,
    exit_,
    jeq,
    jne,
    label,
    ldx,
    mov,
    st,
    stx,
)  # fmt: skip
from pybpf.attach import iterator
from pybpf.btf import Btf
from pybpf.errors import ClosedError, KernelError, NotFoundError, PackError, UnsupportedError
from pybpf.maps import Array, HashMap
from pybpf.prog import Program, ProgramSpec
from pybpf.sys.bpf import AttachType, ProgType
from pybpf.types import u32, u64
from tests.attach.counting import tgid

pytestmark = [pytest.mark.root, pytest.mark.needs("iter")]

LINE = 0x0A2E6F6C6C6568  # b"hello.\n"


def printing(*condition: Any) -> Code:
    """Prints a line for each element (at 8 of the context, then in R7) that ``condition`` does not send to ``out``."""
    return Code(
        [
            mov(R6, R1), ldx(DW, R7, R6, 8), jeq(R7, 0, "out"), *condition,
            ldx(DW, R1, R6, 0), ldx(DW, R1, R1, 0),  # ctx->meta->seq
            st(W, FP, -8, LINE & 0xFFFFFFFF), st(W, FP, -4, LINE >> 32), mov(R2, FP), add(R2, -8), mov(R3, 7),
            call("seq_write"), label("out"), mov(R0, 0), exit_(),
        ]
    )  # fmt: skip


def program(name: str, code: Code) -> Program:
    fields: Any = {"expected_attach_type": AttachType.TRACE_ITER, "attach_btf": name}
    return Program.load(ProgramSpec(ProgType.TRACING, code, f"each_{name}", **fields))


def offset_of(struct: str, member: str) -> int:
    return Btf.vmlinux().member(struct, member).offset_bits // 8


def test_maps() -> None:
    with Array(u32, max_entries=1, name="mine") as mine:
        condition = (ldx(W, R1, R7, offset_of("bpf_map", "id")), jne(R1, mine.id, "out"))
        with program("bpf_map", printing(*condition)) as each, iterator(each) as link:
            assert link.read() == b"hello.\n"
            assert list(link.lines()) == ["hello."]  # again from the start


def test_threads_of_this_process() -> None:
    condition = (ldx(W, R1, R7, offset_of("task_struct", "tgid")), jne(R1, tgid(), "out"))
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    with program("task", printing(*condition)) as each, iterator(each) as link:
        before = len(list(link.lines()))
        for thread in threads:
            thread.start()
        try:
            assert len(list(link.lines())) == before + 3
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_elements_of_a_map() -> None:
    """The context of this one: meta, map, key, value."""
    code = Code(
        [
            mov(R6, R1), ldx(DW, R7, R6, 16), jeq(R7, 0, "out"), ldx(W, R4, R7, 0), stx(W, FP, -4, R4),
            ldx(DW, R1, R6, 0), ldx(DW, R1, R1, 0), mov(R2, FP), add(R2, -4), mov(R3, 4), call("seq_write"),
            label("out"), mov(R0, 0), exit_(),
        ]
    )  # fmt: skip
    with HashMap(u32, u64, max_entries=1000, name="numbers") as numbers:
        for number in range(1000):
            numbers[number] = number
        with program("bpf_map_elem", code) as each:
            with iterator(each, map=numbers) as link:
                data = link.read()
            with pytest.raises(KernelError):
                iterator(each)
    assert sorted(memoryview(data).cast("I")) == list(range(1000))


def test_one_process() -> None:
    condition = (ldx(W, R1, R7, offset_of("task_struct", "tgid")),)
    with program("task", printing(*condition)) as each:
        try:
            link = iterator(each, pid=tgid())
        except UnsupportedError:
            pytest.skip("kernel cannot limit an iterator to a process (Linux 6.1)")
        with link:
            assert len(link.read()) == 7 * len(os.listdir("/proc/self/task"))


def test_two_runs_at_a_time() -> None:
    with Array(u32, max_entries=1, name="mine") as mine:
        condition = (ldx(W, R1, R7, offset_of("bpf_map", "id")), jne(R1, mine.id, "out"))
        with program("bpf_map", printing(*condition)) as each, iterator(each) as link:
            one, two = link.chunks(), link.chunks()
            assert next(one) == next(two) == b"hello.\n"
            one.close()  # type: ignore[attr-defined]
            two.close()  # type: ignore[attr-defined]


def test_closed() -> None:
    with program("bpf_map", printing()) as each:
        link = iterator(each)
        link.close()
        with pytest.raises(ClosedError):
            link.read()


def test_unknown_iterator() -> None:
    with pytest.raises(NotFoundError, match=r"no iterator 'tasks'.*did you mean task"):
        program("tasks", printing())


@pytest.mark.parametrize("who", [{"pid": 0}, {"tid": 0}, {"pid": -1}, {"tid": 1 << 31}])
def test_nobody_is_not_everybody(who: dict[str, int]) -> None:
    with program("task", printing()) as each, pytest.raises(PackError, match="is not the number of a"):
        iterator(each, **who)
