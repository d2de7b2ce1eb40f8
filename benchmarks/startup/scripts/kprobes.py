"""Counts calls of functions of the kernel, and ends when it is attached: ``kprobes.py PID NAME,NAME,...``."""

import sys

from pybpf import Tracer, u64

tracer = Tracer(pid=int(sys.argv[1]))
hits = tracer.hash(u64, u64)


@tracer.kprobe(sys.argv[2].split(","))
def hit():
    hits[0] += 1


with tracer:
    pass
