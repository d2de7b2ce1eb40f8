"""Print the files that are opened, with the time that it took: two tracepoints, a map and typed events.

    sudo PYTHONPATH=. python3 examples/opens.py [PID]      # in a clone; PYTHONPATH is not needed after pip install
"""

from __future__ import annotations

import sys
from typing import Any

from pybpf import Struct, Tracer, char, s32, u32, u64
from pybpf.lang import comm, ktime_ns, pid, read_user_str, tid
from pybpf.report import printable


class Open(Struct):
    pid: u32
    ret: s32
    latency_ns: u64
    comm: str = char[16]  # text of at most 16 bytes; "comm: char[16]" says the same, but not to type checkers
    path: str = char[256]


class Begun(Struct):
    time: u64
    filename: u64


tracer = Tracer(pid=int(sys.argv[1]) if len(sys.argv) > 1 else None)
begun = tracer.hash(u32, Begun, max_entries=10240)
opens = tracer.events(Open)


@tracer.tracepoint("syscalls:sys_enter_openat")
def on_enter(args: Any) -> None:  # the tracepoint's fields, typed from the kernel
    begun[tid()] = Begun(time=ktime_ns(), filename=args.filename)


@tracer.tracepoint("syscalls:sys_exit_openat")
def on_exit(args: Any) -> None:
    start = begun.pop(tid())
    if start is None:  # it began before we did
        return
    opens.emit(
        pid=pid(), ret=args.ret, latency_ns=ktime_ns() - start.time, comm=comm(), path=read_user_str(start.filename)
    )


def show(event: Open) -> None:
    """Print an event."""
    who, path, microseconds = printable(event.comm), printable(event.path), event.latency_ns / 1000
    print(f"{event.pid:8} {who:16} {event.ret:4} {microseconds:10.1f} us  {path}", flush=True)


if __name__ == "__main__":
    with tracer:  # load, attach; detach and close on the way out
        tracer.run({opens: show})  # until Ctrl-C
        print(f"{tracer.lost} events were lost")
