"""Readers of rings, and what their tests share."""

from __future__ import annotations

import os
from typing import Any

from pybpf.maps.perfbuf import PerfBufferReader
from pybpf.maps.ringbuf import RingBufferReader
from tests.maps.emitter import Emitter, Event

PAGE = os.sysconf("SC_PAGESIZE")
#: way of sending -> reader
READERS: dict[str, Any] = {"output": RingBufferReader, "reserve": RingBufferReader, "perf": PerfBufferReader}
#: for tests that wait: only a reader that is never woken takes as long
LONG = 60.0


def counted(how: str, emitter: Emitter) -> dict[str, Any]:
    """What the reader is told so that ``lost`` is known: the kernel counts for perf buffers only."""
    return {} if how == "perf" else {"lost_counter": emitter.refused}


def numbers(got: list[Event]) -> list[int]:
    """Which events they are."""
    return [event.number for event in got]
