"""Counts calls of functions of a library, and ends when it is attached: ``uprobes.py PID LIBRARY NAME,NAME,...``."""

import sys

from pybpf import Tracer, u64

tracer = Tracer(pid=int(sys.argv[1]))
hits = tracer.hash(u64, u64)


@tracer.uprobe(sys.argv[2], sys.argv[3].split(","), skip_failures=True)
def hit():
    hits[0] += 1


with tracer:
    pass
