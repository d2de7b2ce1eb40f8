"""Overload: producers on every CPU against a consumer that is too slow. Each event is delivered or counted as lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pybpf import Struct, Tracer, u32, u64
from pybpf.compiler.target import Target
from pybpf.lang import tid

#: seconds; the long form: ``PYBPF_OVERLOAD=10 pytest tests/reliability/test_overload.py``
SECONDS = float(os.environ.get("PYBPF_OVERLOAD", "1"))
ROOT = Path(__file__).parent.parent.parent
NAME = "pybpf-overload"
#: bytes that the consumer may grow by, whatever is sent: its buffers are mapped before
GROWTH = 24 << 20


#: pages of each buffer, and more events than the buffers of all CPUs hold: each has at least 16 bytes
PAGES = 4
ENOUGH = 2 * PAGES * os.sysconf("SC_PAGE_SIZE") // 16 * len(os.sched_getaffinity(0))


class Call(Struct):
    number: u64
    tid: u32


def _start(cpu: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.reliability.producer", NAME, str(cpu), str(SECONDS)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _tracer(ring: bool) -> tuple[Tracer, Any, Any]:
    host = Target.host()
    tracer = Tracer(comm=NAME, target=replace(host, has=lambda name: (ring or name != "ringbuf") and host.has(name)))
    calls, emitted = tracer.events(Call, pages=PAGES), tracer.count()

    @tracer.tracepoint("syscalls:sys_enter_getpgid")
    def on_call(args: Any) -> None:
        if args.pid > 0:  # the call that only looks it up is none of them
            emitted.add()
            calls.emit(number=args.pid, tid=tid())

    return tracer, calls, emitted


@pytest.mark.root
@pytest.mark.parametrize("ring", [pytest.param(True, marks=pytest.mark.needs("ringbuf")), False], ids=["ring", "perf"])
def test_emitted_is_delivered_or_lost(ring: bool) -> None:
    producers = [_start(cpu) for cpu in sorted(os.sched_getaffinity(0))]
    last: dict[int, int] = {}
    delivered = 0

    def take(events: list[Call]) -> None:
        nonlocal delivered
        delivered += len(events)
        for event in events:
            assert event.number > last.get(event.tid, 0), "out of order, or delivered twice"
            last[event.tid] = event.number

    try:
        tracer, calls, emitted = _tracer(ring)
        with tracer:
            for producer in producers:
                assert producer.stdin is not None
                producer.stdin.write("go\n")
                producer.stdin.flush()
            while emitted.value < ENOUGH and any(producer.poll() is None for producer in producers):
                time.sleep(0.01)  # until more was sent than all buffers hold
            take(calls.poll(1.0))
            before, largest = _resident(), 0
            while any(producer.poll() is None for producer in producers):
                take(calls.poll(0.1))
                largest = max(largest, _resident())
                time.sleep(0.02)  # a consumer that has other things to do
            made = [int(producer.communicate()[0]) for producer in producers]
            while events := calls.read():
                take(events)
            lost = calls.lost
            assert delivered + lost == emitted.value == sum(made)
            assert last.keys() == {producer.pid for producer in producers}
            assert lost > 0, "the consumer kept up: this shows nothing"
            assert delivered > 0
            assert largest - before < GROWTH
    finally:
        for producer in producers:
            producer.kill()
            producer.communicate()
