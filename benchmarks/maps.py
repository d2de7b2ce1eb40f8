"""Reading all entries of hash maps: ``python -m benchmarks.maps`` (as root).

Seconds of wall time, and of processor time, for ``items()`` of a map of u64 pairs, from a thousand entries to a
million; BCC's ``items()`` beside it, in turns, where it is installed (see benchmarks/peers). Medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from benchmarks.peers import bcc, has_bcc
from benchmarks.worker import where
from pybpf import maps
from pybpf.types import u64

__all__ = ["main", "read"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def read(count: int) -> tuple[float, float]:
    """Seconds, and those of the processor, for ``count`` entries, each of which is looked at."""
    with maps.HashMap(u64, u64, count) as table:
        table.update((number, number) for number in range(count))
        begin, busy = time.monotonic(), time.process_time()
        found = sum(1 for key, value in table.items() if key == value)
        took, cpu = time.monotonic() - begin, time.process_time() - busy
    if found != count:
        raise SystemExit(f"{found} entries were read, {count} were written")
    return took, cpu


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="of each (7)")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    options = parser.parse_args()
    results: dict[int, dict[str, tuple[float, ...]]] = {}
    with_bcc = has_bcc()
    if not options.json:
        print(f"{where([])}, medians of {options.runs}")
        print(f"{'entries':>10}{'pybpf s':>10}{'of CPU':>10}{'BCC s':>10}{'of CPU':>10}{'ratio':>8}")
    for size in SIZES:
        ours, theirs = [], []
        for _ in range(options.runs):
            ours.append(read(size))
            if with_bcc:
                theirs.append(tuple(bcc("bcc_items.py", size)[:2]))
        found = {"pybpf": ours, "BCC": theirs} if theirs else {"pybpf": ours}
        row = results[size] = {who: tuple(map(statistics.median, zip(*taken))) for who, taken in found.items()}
        if not options.json:
            cells = "".join(f"{number:>10.4f}" for numbers in row.values() for number in numbers)
            ratio = f"{row['pybpf'][0] / row['BCC'][0]:>8.3f}" if theirs else ""
            print(f"{size:>10}{cells}{ratio}", flush=True)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
