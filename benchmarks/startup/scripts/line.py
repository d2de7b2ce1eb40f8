"""A tracepoint one-liner: who calls getppid()."""

import sys

from pybpf import Struct, Tracer, char, u32
from pybpf.lang import comm, pid


class Call(Struct):
    pid: u32
    comm: char[16]


tracer = Tracer(pid=int(sys.argv[1]))
calls = tracer.events(Call)


@tracer.tracepoint("syscalls:sys_enter_getppid")
def on_call(args):
    calls.emit(pid=pid(), comm=comm())


with tracer:
    for call in calls:
        print(call.pid, call.comm, flush=True)
        break
