"""Events a second from a producer to a reader beside it: ``python -m benchmarks.rates`` (as root).

For each rate a process on one CPU has a program in the kernel send events of 64 bytes for a second, in bursts of a
millisecond; this one, on another CPU, hands each to a callback in Python that reads a field. Printed: events a second
as they were made, how many were lost, in all runs together, and how much of a CPU the reader took; medians. The ring is
of 8 MiB. How long a full ring takes to be read, with no producer beside it, is in :mod:`benchmarks.rings`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.rings import RINGS, SIZE, Event, Take
from benchmarks.worker import where
from tests.maps.emitter import Emitter

__all__ = ["RATES", "Sample", "main", "measure"]

#: events a second that the producer is asked for
RATES = (1_000, 10_000, 100_000, 300_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000)
_BURSTS = 1000  # a second
_RESULT = struct.Struct("d")
#: seconds that the reader waits for events before it looks whether the producer has ended
_TICK = 0.01


class Sample(NamedTuple):
    """One rate: events a second as they were made, lost ones, CPUs that the reader was busy on."""

    made: float
    lost: float
    cpu: float


def _produce(emitter: Emitter, rate: int, seconds: float, cpu: int) -> float:
    """Send, and return the seconds that it took; behind its time it does not wait."""
    os.sched_setaffinity(0, {cpu})
    begin = time.monotonic()
    for burst in range(1, int(_BURSTS * seconds) + 1):
        emitter.send(rate // _BURSTS)
        time.sleep(max(0, begin + burst / _BURSTS - time.monotonic()))
    return time.monotonic() - begin


def _producer(emitter: Emitter, rate: int, seconds: float, cpu: int) -> tuple[int, int]:
    """Start it; its process, and a descriptor from which its seconds are read when it is done."""
    done, writes = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writes)
        return pid, done
    try:
        os.write(writes, _RESULT.pack(_produce(emitter, rate, seconds, cpu)))
    finally:
        os._exit(0)


def _consume(reader: Any, take: Take, done: int) -> tuple[float, int]:
    """Seconds of the producer, and the events that came."""
    count = 0
    while not select.select([done], [], [], 0)[0]:
        count += reader.drain(take, timeout=_TICK, limit=1 << 24)
    count += reader.drain(take, limit=1 << 24)
    said = os.read(done, _RESULT.size)
    if len(said) < _RESULT.size:
        raise SystemExit("the producer failed")
    return _RESULT.unpack(said)[0], count


def measure(ring: str, rate: int, seconds: float) -> Sample:
    """One run.

    :raises SystemExit: the events that came and the lost ones are not all that were sent.
    """
    consumer, producer = sorted(os.sched_getaffinity(0))[:2]
    take = Take()
    with Emitter(RINGS[ring].how, SIZE) as emitter, RINGS[ring].reader(emitter, Event) as reader:
        before = os.sched_getaffinity(0)
        pid, done = _producer(emitter, rate, seconds, producer)
        os.sched_setaffinity(0, {consumer})
        try:
            begin, busy = time.monotonic(), time.thread_time()
            took, count = _consume(reader, take, done)
            cpu = (time.thread_time() - busy) / (time.monotonic() - begin)
        finally:
            os.sched_setaffinity(0, before)
            os.close(done)
            os.waitpid(pid, 0)
        lost = emitter.refused()
    sent = rate // _BURSTS * int(_BURSTS * seconds)
    if count + lost != sent or take.seen != count:
        raise SystemExit(f"{ring}: of {sent} events {count} came and {lost} were lost")
    return Sample(sent / took, lost, cpu)


def _measured(runs: int, seconds: float) -> dict[str, dict[int, Sample]]:
    """Ring -> rate -> medians, and the sum of the lost ones; the rings in turns."""
    found: dict[str, dict[int, list[Sample]]] = {ring: {rate: [] for rate in RATES} for ring in RINGS}
    for _ in range(runs):
        for ring, rates in found.items():
            for rate, samples in rates.items():
                samples.append(measure(ring, rate, seconds))
    return {ring: {rate: _middle(samples) for rate, samples in rates.items()} for ring, rates in found.items()}


def _middle(samples: Sequence[Sample]) -> Sample:
    made, lost, cpu = zip(*samples)
    return Sample(statistics.median(made), sum(lost), statistics.median(cpu))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="of each rate (7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (1)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("the producer and its reader need a CPU each: here is only one")
    results = _measured(options.runs, options.seconds)
    if options.json:
        print(json.dumps(results))
        return
    print(f"{where([])}, medians of {options.runs}")
    print(f"{'ring':<13}{'asked for':>11}{'made/s':>11}{'lost':>10}{'CPU':>7}")
    for ring, rates in results.items():
        for rate, (made, lost, cpu) in rates.items():
            print(f"{ring:<13}{rate:>11}{made:>11.0f}{lost:>10.0f}{cpu:>7.0%}")


if __name__ == "__main__":
    main()
