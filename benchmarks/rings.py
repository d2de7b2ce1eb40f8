"""Events a second through ring buffer and perf buffer: ``python -m benchmarks.rings`` (as root).

Fills a ring by running a program in the kernel, then times how long the reader takes to hand everything over;
prints a table. Only reading is timed, as processor time of the thread. Sizes: 64 bytes, and 17 to 80 bytes mixed.
Where BCC is installed (see benchmarks/peers) its callbacks get the same 64 bytes. With ``--growth``: how the time for
an event changes from a thousand of them to three million.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.peers import bcc, has_bcc
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


def measure(case: Case, seconds: float, events: int = SIZE // 96) -> float:
    """Nanoseconds for an event, the best of the rounds of so many that fit into ``seconds``."""
    readers: dict[str, Any] = {
        "output": lambda emitter: RingBufferReader(emitter, case.kind),
        "perf": lambda emitter: PerfBufferReader(emitter, case.kind, size=SIZE),
    }
    best = float("inf")
    with Emitter(case.how, SIZE, **case.emitter) as emitter, readers[case.how](emitter) as reader:
        end = time.monotonic() + seconds
        while best == float("inf") or time.monotonic() < end:
            took, left = 0.0, events
            while left:
                part = min(left, SIZE // 96)
                emitter.send(part, cpu=0)
                gc.collect()
                start = time.thread_time()
                count = case.read(reader)
                took += time.thread_time() - start
                if count != part:
                    raise SystemExit(f"{case}: {count} events arrived, {part} were sent")
                left -= part
            best = min(best, took / events * 1e9)
    return best


def _rows(seconds: float) -> Iterator[tuple[str, str, str, float]]:
    for case in CASES:
        yield case.ring, case.sizes, case.form, measure(case, seconds)
    if has_bcc():
        for ring, kind in (("ring buffer", "ring"), ("perf buffer", "perf")):
            took, lost = bcc("bcc_events.py", kind, 7)
            if lost:
                print(f"BCC: {lost:.0f} events of the {ring} were lost", file=sys.stderr)
            yield ring, "64", "BCC, callback", took


def _growth(seconds: float) -> Iterator[tuple[str, str, str, float]]:
    case = next(case for case in CASES if case.form == "Struct, callback")
    for events in (1_000, 10_000, 100_000, 1_000_000, 3_000_000):
        yield case.ring, "64", f"{events} {case.form}", measure(case, seconds, events)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row (2)")
    parser.add_argument("--growth", action="store_true", help="one case, with more and more events")
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    options = parser.parse_args()
    rows = (_growth if options.growth else _rows)(options.seconds)
    if options.json:
        print(json.dumps(list(rows)))
        return
    print(f"{'ring':<13}{'bytes':<8}{'events as':<26}{'ns/event':>9}{'million/s':>11}")
    for ring, sizes, form, took in rows:
        print(f"{ring:<13}{sizes:<8}{form:<26}{took:>9.0f}{1e3 / took:>11.2f}", flush=True)


if __name__ == "__main__":
    main()
