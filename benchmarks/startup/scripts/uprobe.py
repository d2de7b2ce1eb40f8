"""A histogram of what a function of a library is called with."""

import sys
import time

from pybpf import Tracer
from pybpf.lang import tid

traced = int(sys.argv[1])
tracer = Tracer(pid=traced)
threads = tracer.histogram()


@tracer.uprobe("libc.so.6", "getppid")
def on_call():
    threads.add(tid())


with tracer:
    while not threads.value.count:
        time.sleep(0.001)
    print(traced, "calls", flush=True)
    print(threads)
