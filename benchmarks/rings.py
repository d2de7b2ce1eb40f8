"""How long a full ring buffer or perf buffer takes to be read: ``python -m benchmarks.rings`` (as root).

Fills a ring by running a program in the kernel, then times how long the reader takes to hand everything over, with no
producer beside it (:mod:`benchmarks.rates` has one); prints a table. Only reading is timed: processor time of the
thread, and wall time. Sizes: 64 bytes, and 17 to 80 bytes mixed. Where BCC is installed (see benchmarks/peers) its
callbacks, which do the same, get the same 64 bytes. All in turns, after a round each that does not count; medians.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.peers import bcc, has_bcc
from benchmarks.worker import where
from pybpf.maps.perfbuf import PerfBufferReader
from pybpf.maps.ringbuf import RingBufferReader
from pybpf.types import Struct, s32, u32, u64
from tests.maps.emitter import Emitter

__all__ = ["RINGS", "SIZE", "Event", "Take", "main"]

SIZE = 1 << 23
#: events of a round: all of the ring, with the heads of the events
_EVENTS = SIZE // 96


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


class Ring(NamedTuple):
    """A kind of ring."""

    how: str  #: as the emitter calls it
    reader: Callable[..., Any]
    bcc: str  #: as bcc_events.py calls it


RINGS = {
    "ring buffer": Ring("output", RingBufferReader, "ring"),
    "perf buffer": Ring("perf", lambda emitter, kind: PerfBufferReader(emitter, kind, size=SIZE), "perf"),
}


class Take:
    """A callback that reads a field of each event and counts, as that of bcc_events.py does."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, event: Event) -> None:
        self.seen += event.size == 64


class Case(NamedTuple):
    """One row of the table."""

    ring: str
    sizes: str
    form: str
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
    take = Take()
    reader.drain(take, limit=1 << 24)
    return take.seen


def _loop(reader: Any) -> int:
    count = 0
    for _ in reader.events(timeout=0):
        count += 1
    return count


_FIXED: dict[str, int] = {}
_MIXED = {"size": 17, "mask": 63}
CASES = [
    Case(ring, sizes, form, kind, emitter, read)
    for ring in RINGS
    for sizes, form, kind, emitter, read in (
        ("64", "bytes, list", None, _FIXED, _list),
        ("64", "Struct, list", Event, _FIXED, _list),
        ("64", "Struct, for loop", Event, _FIXED, _loop),
        ("64", "Struct, callback", Event, _FIXED, _callback),
        ("17-80", "bytes, list", None, _MIXED, _list),
    )
]


class Sample(NamedTuple):
    """One round: nanoseconds of processor time and of wall time for an event, and events that were lost."""

    cpu: float
    wall: float
    lost: float = 0


def measure(case: Case) -> Sample:
    """One round, after one that does not count.

    :raises SystemExit: not all events arrived.
    """
    ring = RINGS[case.ring]
    with Emitter(ring.how, SIZE, **case.emitter) as emitter, ring.reader(emitter, case.kind) as reader:
        for _ in range(2):
            emitter.send(_EVENTS, cpu=0)
            gc.collect()
            begin, busy = time.monotonic(), time.thread_time()
            count = case.read(reader)
            cpu, wall = time.thread_time() - busy, time.monotonic() - begin
            if count != _EVENTS:
                raise SystemExit(f"{case}: {count} events arrived, {_EVENTS} were sent")
    return Sample(cpu / _EVENTS * 1e9, wall / _EVENTS * 1e9)


def _measured(runs: int) -> list[tuple[str, str, str, Sample]]:
    """Ring, sizes, form, medians; all of them in turns."""
    found: dict[tuple[str, str, str], list[Sample]] = {}
    with_bcc = has_bcc()
    for _ in range(runs):
        for case in CASES:
            found.setdefault((case.ring, case.sizes, case.form), []).append(measure(case))
        for name, ring in RINGS.items() if with_bcc else ():
            found.setdefault((name, "64", "BCC, callback"), []).append(Sample(*bcc("bcc_events.py", ring.bcc)))
    return [(*what, _middle(samples)) for what, samples in found.items()]


def _middle(samples: Sequence[Sample]) -> Sample:
    cpu, wall, lost = zip(*samples)
    return Sample(statistics.median(cpu), statistics.median(wall), sum(lost))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="of each, in turns (7)")
    parser.add_argument("--json", action="store_true", help="print a list of rows as JSON")
    options = parser.parse_args()
    rows = _measured(options.runs)
    for ring, _, form, sample in rows:
        if sample.lost:
            print(f"{form} of the {ring}: {sample.lost:.0f} events were lost", file=sys.stderr)
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{where([])}, medians of {options.runs}; drained, with no producer beside the reader")
    print(f"{'ring':<13}{'bytes':<8}{'events as':<22}{'CPU ns/event':>13}{'wall':>7}{'million/s of CPU':>18}")
    for ring, sizes, form, (cpu, wall, _) in rows:
        print(f"{ring:<13}{sizes:<8}{form:<22}{cpu:>13.0f}{wall:>7.0f}{1e3 / cpu:>18.2f}")


if __name__ == "__main__":
    main()
