"""Events a second through ring buffer and perf buffer: ``python -m benchmarks.rings`` (as root).

Fills a ring by running a program in the kernel, then times how long the reader takes to hand everything over;
prints a table. Only reading is timed, as processor time of the thread. Sizes: 64 bytes, and 17 to 80 bytes mixed.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pybpf.maps.perfbuf import PerfBufferReader
from pybpf.maps.ringbuf import RingBufferReader
from pybpf.types import Struct, s32, u32, u64
from tests.maps.emitter import Emitter

__all__ = ["main"]

SIZE = 1 << 23


class Event(Struct):
    """64 bytes, as a tracer would send."""

    number: u64
    cpu: u32
    size: u32
    begin: u64
    end: u64
    inode: u64
    offset: u64
    pid: u32
    tid: u32
    uid: u32
    ret: s32


class Case(NamedTuple):
    """One row of the table."""

    ring: str
    sizes: str
    form: str
    how: str
    kind: Any
    emitter: dict[str, int]
    read: Callable[[Any], int]


def _list(reader: Any) -> int:
    count = 0
    while True:
        events = reader.read()
        if not events:
            return count
        count += len(events)


def _callback(reader: Any) -> int:
    return int(reader.drain(_nothing, limit=1 << 24))


def _nothing(event: object) -> None:
    pass


def _loop(reader: Any) -> int:
    count = 0
    for _ in reader.events(timeout=0):
        count += 1
    return count


_FIXED: dict[str, int] = {}
_MIXED = {"size": 17, "mask": 63}
CASES = [
    Case(ring, sizes, form, how, kind, emitter, read)
    for ring, how in (("ring buffer", "output"), ("perf buffer", "perf"))
    for sizes, form, kind, emitter, read in (
        ("64", "bytes, list", None, _FIXED, _list),
        ("64", "Struct, list", Event, _FIXED, _list),
        ("64", "Struct, for loop", Event, _FIXED, _loop),
        ("64", "Struct, callback", Event, _FIXED, _callback),
        ("17-80", "bytes, list", None, _MIXED, _list),
    )
]


def measure(case: Case, seconds: float) -> float:
    """Nanoseconds for an event, the best of the rounds that fit into ``seconds``."""
    readers: dict[str, Any] = {
        "output": lambda emitter: RingBufferReader(emitter, case.kind),
        "perf": lambda emitter: PerfBufferReader(emitter, case.kind, size=SIZE),
    }
    best = float("inf")
    with Emitter(case.how, SIZE, **case.emitter) as emitter, readers[case.how](emitter) as reader:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            emitter.send(SIZE // 96, cpu=0)
            gc.collect()
            start = time.thread_time()
            count = case.read(reader)
            best = min(best, (time.thread_time() - start) / count * 1e9)
            if count != SIZE // 96:
                raise SystemExit(f"{case}: {count} events arrived, {SIZE // 96} were sent")
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row (2)")
    options = parser.parse_args()
    print(f"{'ring':<13}{'bytes':<8}{'events as':<18}{'ns/event':>9}{'million/s':>11}")
    for case in CASES:
        took = measure(case, options.seconds)
        print(f"{case.ring:<13}{case.sizes:<8}{case.form:<18}{took:>9.0f}{1e3 / took:>11.2f}", flush=True)


if __name__ == "__main__":
    main()
