"""Makes numbered system calls as fast as it can: ``python -m tests.reliability.producer NAME CPU SECONDS``.

Calls itself NAME, runs on one CPU, waits for a line on its standard input, calls ``getpgid(1)``, ``getpgid(2)``, ...
and prints how many calls it made. Most numbers are those of no process, which the call says, and that is all it does.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from contextlib import suppress

__all__ = ["main"]

_PR_SET_NAME = 15
_AT_ONCE = 1000


def main(name: str, cpu: int, seconds: float) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    with suppress(OSError):  # of a machine that has fewer
        os.sched_setaffinity(0, [cpu])
    call = libc.getpgid
    call(0)  # looked up before it counts
    print("ready", flush=True)
    sys.stdin.readline()
    end, number = time.monotonic() + seconds, 1
    while time.monotonic() < end:
        for each in range(number, number + _AT_ONCE):
            call(each)
        number += _AT_ONCE
    print(number - 1, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
