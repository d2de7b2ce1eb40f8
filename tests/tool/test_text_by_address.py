"""Text of which nobody says whose it is: read in the kernel or in the process, as the address says."""

from __future__ import annotations

import pytest

from pybpf import Struct, Tracer, char, u64
from pybpf.lang import current_task, offsetof
from pybpf.tool.c.builtins import kernel_text, starts_with
from tests.programs.workload import Caller

pytestmark = [pytest.mark.root, pytest.mark.needs("uprobe"), pytest.mark.needs("btf_vmlinux")]


class Seen(Struct):
    of_process: char[16]
    of_kernel: char[16]
    begins: u64


def test_text_of_the_process_and_of_the_kernel() -> None:
    with Caller() as child:
        tracer = Tracer(pid=child.pid)
        seen = tracer.events(Seen)

        @tracer.uprobe("libc.so.6", "atoi")
        def called(text: u64) -> None:
            name = u64(current_task()) + offsetof("struct task_struct", "comm")
            begins = starts_with(kernel_text(text), "4")
            seen.emit(of_process=kernel_text(text), of_kernel=kernel_text(name), begins=begins)

        with tracer:
            child.call("atoi,'42and_more")
            (event,) = seen.read()
        with open(f"/proc/{child.pid}/comm") as file:
            assert event.of_kernel == file.read().rstrip("\n")
    assert event.of_process == "42and_more" and event.begins == 1
