"""A program that does nothing."""

import sys

from pybpf import Tracer

tracer = Tracer(pid=int(sys.argv[1]))


@tracer.tracepoint("syscalls:sys_enter_getppid")
def empty(args):
    pass


with tracer:
    print(sys.argv[1], "up", flush=True)
