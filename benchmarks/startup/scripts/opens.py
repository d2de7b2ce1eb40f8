"""Files that are opened, with the time that it took."""

import sys

from pybpf import Struct, Tracer, char, s32, u32, u64
from pybpf.lang import comm, ktime_ns, pid, read_user_str, tid


class Open(Struct):
    pid: u32
    ret: s32
    latency_ns: u64
    comm: char[16]
    path: char[256]


class Begun(Struct):
    time: u64
    filename: u64


tracer = Tracer(pid=int(sys.argv[1]))
begun = tracer.hash(u32, Begun, max_entries=10240)
opens = tracer.events(Open)


@tracer.tracepoint("syscalls:sys_enter_openat")
def on_enter(args):
    begun[tid()] = Begun(time=ktime_ns(), filename=args.filename)


@tracer.tracepoint("syscalls:sys_exit_openat")
def on_exit(args):
    start = begun.pop(tid())
    if start is None:
        return
    opens.emit(
        pid=pid(), ret=args.ret, latency_ns=ktime_ns() - start.time, comm=comm(), path=read_user_str(start.filename)
    )


with tracer:
    for event in opens:
        print(event.pid, event.comm, event.ret, event.latency_ns, event.path, flush=True)
        break
