"""Reading all entries of hash maps: ``python -m benchmarks.maps`` (as root).

Seconds of wall time for ``items()`` of a map of u64 pairs, from a thousand entries to a million; BCC's ``items()``
beside it where it is installed (see benchmarks/peers).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from benchmarks.peers import bcc, has_bcc
from pybpf import maps
from pybpf.types import u64

__all__ = ["main", "read"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def read(count: int) -> float:
    """Seconds for ``count`` entries, each of which is looked at."""
    with maps.HashMap(u64, u64, count) as table:
        table.update((number, number) for number in range(count))
        begin = time.monotonic()
        found = sum(1 for key, value in table.items() if key == value)
        took = time.monotonic() - begin
    if found != count:
        raise SystemExit(f"{found} entries were read, {count} were written")
    return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="of each (7); the largest of BCC: 1")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    options = parser.parse_args()
    results: dict[int, dict[str, float]] = {}
    with_bcc = has_bcc()
    if not options.json:
        print(f"{'entries':>10}{'pybpf s':>10}{'BCC s':>10}{'ratio':>8}")
    for size in SIZES:
        ours, theirs = [], []
        for turn in range(options.runs):
            ours.append(read(size))
            if with_bcc and (size < SIZES[-1] or not turn):
                theirs.append(bcc("bcc_items.py", size)[0])
        row = results[size] = {"pybpf": statistics.median(ours)}
        if theirs:
            row["BCC"] = statistics.median(theirs)
        if not options.json:
            rest = f"{row['BCC']:>10.4f}{row['pybpf'] / row['BCC']:>8.3f}" if theirs else ""
            print(f"{size:>10}{row['pybpf']:>10.4f}{rest}", flush=True)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
